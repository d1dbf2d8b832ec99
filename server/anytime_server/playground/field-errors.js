/**
 * Error messages of a request, each shown beside the input that it is about. An input lists the elements for its
 * messages in `aria-describedby`: the first is its own, the others are those of inputs that its change may correct.
 */

import { element } from "./page.js";

/** Ids of the inputs by the request field on the wire. */
const INPUTS = {
  messages: "question",
  budget: "budget",
  "budget.deadline_ms": "deadline",
  budgets: "budgets",
  stop_when: "stable",
  "stop_when.every_tokens": "every",
  "stop_when.min_confidence": "confidence",
  "thinking.seed": "seed",
};

/** Show the error of a request field, named as on the wire. Returns false if the field has no input. */
export function showFieldError(field, message) {
  let name = field;
  while (name && !INPUTS[name]) name = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "";
  if (!name) return false;
  showError(element(INPUTS[name]), message);
  return true;
}

export function showError(input, message) {
  input.setAttribute("aria-invalid", "true");
  element(messageIds(input)[0]).textContent = message;
  input.closest("details")?.setAttribute("open", "");
  input.focus();
}

/** Clear the messages of an input, and those that its change may correct. */
export function clearErrors(input) {
  for (const id of messageIds(input)) {
    element(id).textContent = "";
    for (const invalid of document.querySelectorAll("[aria-invalid]")) {
      if (messageIds(invalid)[0] === id) invalid.removeAttribute("aria-invalid");
    }
  }
}

export function clearAllErrors() {
  for (const invalid of document.querySelectorAll("[aria-invalid]")) clearErrors(invalid);
}

function messageIds(input) {
  return input.getAttribute("aria-describedby")?.split(" ") ?? [];
}
