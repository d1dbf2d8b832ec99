/** The API key, if the server requires one. It is kept in this tab only, never in a link or in the shown code. */

import { clearErrors, showError } from "./field-errors.js";
import { element } from "./page.js";

const STORAGE_KEY = "anytime-api-key";
/** Text that can be sent in an HTTP header. */
const VALID = /^[\x21-\x7e]+$/;

/** The key and its form. Calls `onChange` when a key is required. */
export class Key {
  /** Undefined if there is none. */
  value = sessionStorage.getItem(STORAGE_KEY) ?? undefined;
  /** Whether the server requires a key. */
  required = this.value !== undefined;
  #onSubmit = () => {};

  constructor(onChange) {
    this.onChange = onChange;
    element("key").addEventListener("input", (event) => clearErrors(event.target));
    element("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = element("key").value.trim();
      if (!VALID.test(text)) {
        return showError(element("key"), "An API key consists of printable ASCII characters.");
      }
      this.value = text;
      sessionStorage.setItem(STORAGE_KEY, text);
      this.#onSubmit();
    });
  }

  /** Show the form with the reason, and wait until another key has been entered. */
  async request(reason) {
    this.required = true;
    this.onChange();
    element("key-form").hidden = false;
    if (this.value === undefined) element("key").focus();
    else showError(element("key"), reason);
    await new Promise((resolve) => (this.#onSubmit = resolve));
  }

  /** Hide the form: the server accepts the key. */
  hide() {
    element("key-form").hidden = true;
    element("key").value = "";
  }
}
