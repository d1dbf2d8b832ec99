/** Faults of a request, each told beside the input that it is about. An input names the place by its `aria-describedby`. */

import { element } from "./page.js";

/** Inputs by the fields of the wire. */
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

/** Tell a fault of a field, named as on the wire. False if there is no input for it. */
export function tell(field, message) {
  let name = field;
  while (name && !INPUTS[name]) name = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "";
  if (!name) return false;
  tellAt(element(INPUTS[name]), message);
  return true;
}

export function tellAt(input, message) {
  input.setAttribute("aria-invalid", "true");
  element(places(input)[0]).textContent = message;
  input.closest("details")?.setAttribute("open", "");
  input.focus();
}

/** Take back what is told at the places of an input: its own first, then those of faults that it may mend, too. */
export function takeBack(input) {
  for (const place of places(input)) {
    element(place).textContent = "";
    for (const told of document.querySelectorAll("[aria-invalid]")) {
      if (places(told)[0] === place) told.removeAttribute("aria-invalid");
    }
  }
}

export function takeBackAll() {
  for (const told of document.querySelectorAll("[aria-invalid]")) takeBack(told);
}

function places(input) {
  return input.getAttribute("aria-describedby")?.split(" ") ?? [];
}
