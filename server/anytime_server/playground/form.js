/** The form: the question and the options of the request, in the wire format. */

import { showExamples } from "./examples.js";
import { clearAllErrors, clearErrors, showError, showFieldError } from "./field-errors.js";
import { element } from "./page.js";

const DEFAULT_BUDGET = 1024;

/** The form in the page. Calls `onChange` whenever the request changes. */
export class Form {
  /** Budgets that the model was trained for, ascending. */
  #trainedBudgets = [];
  /** Whether `budgets` holds the suggested values; false once the user has typed there. */
  #isSuggested = true;

  constructor(onChange) {
    this.onChange = onChange;
    const budget = element("budget");
    const slider = element("budget-slider");
    slider.addEventListener("input", () => (budget.value = slider.value));
    budget.addEventListener("input", () => (slider.value = budget.value));
    element("unlimited").addEventListener("change", (event) => {
      budget.disabled = slider.disabled = event.target.checked;
    });
    element("stable-on").addEventListener("change", (event) => {
      element("stable-fields").hidden = !event.target.checked;
    });
    element("budgets").addEventListener("input", () => this.#setSuggested(false));
    element("budgets-default").addEventListener("click", () => {
      this.#setSuggested(true);
      element("budgets").focus();
    });
    element("form").addEventListener("input", (event) => {
      clearErrors(event.target);
      this.#suggest();
      this.onChange();
    });
  }

  /** Set the scale of the slider, the defaults and the examples from the card of a model. */
  configure({ max_model_len: window, anytime: manifest }) {
    this.#trainedBudgets = manifest.budgets;
    const largest = this.#trainedBudgets.at(-1);
    const maximum = largest ? Math.ceil(largest * 1.5) : (window ?? DEFAULT_BUDGET);
    const slider = element("budget-slider");
    slider.max = window ? Math.min(maximum, window) : maximum;
    slider.step = Math.max(1, 10 ** Math.floor(Math.log10(slider.max / 100)));
    element("budget").value = slider.value = largest ?? Math.min(DEFAULT_BUDGET, Math.floor(maximum / 2));
    element("step").value = element("every").value = this.#trainedBudgets[0] ?? 64;
    this.#suggest();
    showExamples(manifest.examples, (text) => {
      this.question = text;
      element("question").focus();
    });
    this.onChange();
  }

  /** The maximum of the slider. */
  get scale() {
    return Number(element("budget-slider").max);
  }

  get question() {
    return element("question").value;
  }

  set question(text) {
    element("question").value = text;
    clearErrors(element("question"));
    this.onChange();
  }

  /** The budget in tokens; null without a limit. */
  get budget() {
    return element("unlimited").checked ? null : number("budget");
  }

  get deadline() {
    return number("deadline");
  }

  /** Thinking tokens at which early answers are requested; anything that is not a number is ignored. */
  get budgets() {
    return element("budgets").value.match(/\d+/g)?.map(Number) ?? [];
  }

  /** The options of the request; empty ones are left out. */
  get options() {
    const { budget, deadline, budgets } = this;
    const options = {};
    if (deadline !== null) options.budget = withoutNull({ tokens: budget, deadline_ms: deadline });
    else if (budget !== null) options.budget = budget;
    if (budgets.length) options.budgets = budgets;
    if (element("stable-on").checked) {
      const confidence = number("confidence") ? number("confidence") / 100 : null;
      options.stop_when = withoutNull({
        stable: number("stable"),
        every_tokens: number("every"),
        min_confidence: confidence,
      });
    }
    if (number("seed") !== null) options.thinking = { seed: number("seed") };
    return options;
  }

  /** Question and budget as the fragment of a link. */
  get link() {
    return String(
      new URLSearchParams({ question: this.question, ...(this.budget !== null && { budget: this.budget }) }),
    );
  }

  /** Set question and budget from the fragment of a link, if it has a question. */
  set link(fragment) {
    const parameters = new URLSearchParams(fragment);
    if (!parameters.has("question")) return;
    element("unlimited").checked = !parameters.has("budget");
    element("unlimited").dispatchEvent(new Event("change"));
    if (parameters.has("budget")) element("budget").value = element("budget-slider").value = parameters.get("budget");
    this.#suggest();
    this.question = parameters.get("question");
  }

  /** Validate the inputs and show the first error. Returns whether all are valid. */
  validate() {
    clearAllErrors();
    const invalid = [...element("form").elements].find(
      (input) => !input.disabled && !input.closest("[hidden]") && !input.validity.valid,
    );
    if (invalid) showError(invalid, constraintMessage(invalid));
    else if (this.budget === null && !element("unlimited").checked) {
      showFieldError("budget", "Enter a number of tokens, or tick “no limit”.");
    } else if (!/^[\s\d,;]*$/.test(element("budgets").value)) {
      showFieldError("budgets", "Enter whole numbers, separated by commas.");
    } else if (!this.question.trim()) showFieldError("messages", "Enter a question.");
    else return true;
    return false;
  }

  #setSuggested(isSuggested) {
    this.#isSuggested = isSuggested;
    element("budgets-default").hidden = isSuggested;
    this.#suggest();
    this.onChange();
  }

  #suggest() {
    if (!this.#isSuggested) return;
    element("budgets").value = this.#trainedBudgets.filter((tokens) => tokens < (this.budget ?? Infinity)).join(", ");
    clearErrors(element("budgets"));
  }
}

/** The error message of an invalid number input. */
function constraintMessage({ validity, min, max }) {
  if (validity.badInput) return "This must be a number.";
  if (validity.rangeUnderflow) return `This must be at least ${min}.`;
  return validity.rangeOverflow ? `This must be at most ${max}.` : "This must be a whole number.";
}

/** The fields that are not null. */
function withoutNull(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}

/** The number in an input; null if it is empty. */
export function number(id) {
  const value = element(id).valueAsNumber;
  return Number.isNaN(value) ? null : value;
}
