/** The form: what is asked and how long it may be thought about, as the wire has it. */

import { offer } from "./examples.js";
import { takeBack, takeBackAll, tell, tellAt } from "./faults.js";
import { element } from "./page.js";

const DEFAULT_BUDGET = 1024;

/** The form in the page. Calls `changed` whenever the request is another. */
export class Form {
  /** Budgets in tokens that the model was made for, ascending. */
  #usual = [];
  /** The budgets are those suggested, until they are typed. */
  #suggested = true;

  constructor(changed) {
    this.changed = changed;
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
      takeBack(event.target);
      this.#suggest();
      this.changed();
    });
  }

  /** Set the scale, the defaults and the examples for a model, by its card. */
  configure({ max_model_len: window, anytime: manifest }) {
    this.#usual = manifest.budgets;
    const largest = this.#usual.at(-1);
    const most = largest ? Math.ceil(largest * 1.5) : (window ?? DEFAULT_BUDGET);
    const slider = element("budget-slider");
    slider.max = window ? Math.min(most, window) : most;
    slider.step = Math.max(1, 10 ** Math.floor(Math.log10(slider.max / 100)));
    element("budget").value = slider.value = largest ?? Math.min(DEFAULT_BUDGET, Math.floor(most / 2));
    element("step").value = element("every").value = this.#usual[0] ?? 64;
    this.#suggest();
    offer(manifest.examples, (text) => {
      this.question = text;
      element("question").focus();
    });
    this.changed();
  }

  /** The most that the slider shows. */
  get scale() {
    return Number(element("budget-slider").max);
  }

  get question() {
    return element("question").value;
  }

  set question(text) {
    element("question").value = text;
    takeBack(element("question"));
    this.changed();
  }

  /** Tokens of the budget; null without a limit. */
  get budget() {
    return element("unlimited").checked ? null : number("budget");
  }

  get deadline() {
    return number("deadline");
  }

  /** Where provisional answers are asked for; what is no number is left out. */
  get budgets() {
    return element("budgets").value.match(/\d+/g)?.map(Number) ?? [];
  }

  /** The options of the request, without what is not given. */
  get options() {
    const { budget, deadline, budgets } = this;
    const options = {};
    if (deadline !== null) options.budget = given({ tokens: budget, deadline_ms: deadline });
    else if (budget !== null) options.budget = budget;
    if (budgets.length) options.budgets = budgets;
    if (element("stable-on").checked) {
      const confidence = number("confidence") ? number("confidence") / 100 : null;
      options.stop_when = given({
        stable: number("stable"),
        every_tokens: number("every"),
        min_confidence: confidence,
      });
    }
    if (number("seed") !== null) options.thinking = { seed: number("seed") };
    return options;
  }

  /** Question and budget for a link: what comes after its `#`. */
  get link() {
    return String(
      new URLSearchParams({ question: this.question, ...(this.budget !== null && { budget: this.budget }) }),
    );
  }

  /** Take what a link says, if it says anything. */
  set link(text) {
    const given = new URLSearchParams(text);
    if (!given.has("question")) return;
    element("unlimited").checked = !given.has("budget");
    element("unlimited").dispatchEvent(new Event("change"));
    if (given.has("budget")) element("budget").value = element("budget-slider").value = given.get("budget");
    this.#suggest();
    this.question = given.get("question");
  }

  /** Look for what could not even be sent. True if there is nothing. */
  check() {
    takeBackAll();
    const unfit = [...element("form").elements].find(
      (input) => !input.disabled && !input.closest("[hidden]") && !input.validity.valid,
    );
    if (unfit) tellAt(unfit, why(unfit));
    else if (this.budget === null && !element("unlimited").checked) {
      tell("budget", "How many tokens? Or tick “no limit”.");
    } else if (!/^[\s\d,;]*$/.test(element("budgets").value)) {
      tell("budgets", "These must be whole numbers, with commas between them.");
    } else if (!this.question.trim()) tell("messages", "There is no question yet.");
    else return true;
    return false;
  }

  #setSuggested(suggested) {
    this.#suggested = suggested;
    element("budgets-default").hidden = suggested;
    this.#suggest();
    this.changed();
  }

  #suggest() {
    if (!this.#suggested) return;
    element("budgets").value = this.#usual.filter((tokens) => tokens < (this.budget ?? Infinity)).join(", ");
    takeBack(element("budgets"));
  }
}

/** What is wrong with a number. */
function why({ validity, min, max }) {
  if (validity.badInput) return "This must be a number.";
  if (validity.rangeUnderflow) return `This must be at least ${min}.`;
  return validity.rangeOverflow ? `This must be at most ${max}.` : "This must be a whole number.";
}

/** The fields that are not null. */
function given(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}

/** The number in an input; null where there is none. */
export function number(id) {
  const value = element(id).valueAsNumber;
  return Number.isNaN(value) ? null : value;
}
