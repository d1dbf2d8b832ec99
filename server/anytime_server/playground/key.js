/** The API key, where the server asks for one. It stays in this tab: in no link, and in no code that is shown. */

import { takeBack, tellAt } from "./faults.js";
import { element } from "./page.js";

const STORED = "anytime-api-key";
/** What can be sent in a header. */
const SENDABLE = /^[\x21-\x7e]+$/;

/** The key and the form for it. Calls `changed` when a key is asked for or given. */
export class Key {
  /** Undefined where there is none. */
  value = sessionStorage.getItem(STORED) ?? undefined;
  /** Whether the server asks for one. */
  asked = this.value !== undefined;
  #given = () => {};

  constructor(changed) {
    this.changed = changed;
    element("key").addEventListener("input", (event) => takeBack(event.target));
    element("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = element("key").value.trim();
      if (!SENDABLE.test(text)) return tellAt(element("key"), "This is no API key.");
      this.value = text;
      sessionStorage.setItem(STORED, text);
      this.#given();
    });
  }

  /** Show the form, say why, and return once there is another key. */
  async ask(why) {
    this.asked = true;
    this.changed();
    element("key-form").hidden = false;
    if (this.value === undefined) element("key").focus();
    else tellAt(element("key"), why);
    await new Promise((resolve) => (this.#given = resolve));
  }

  /** The server takes it: it need not be seen any more. */
  accept() {
    element("key-form").hidden = true;
    element("key").value = "";
  }
}
