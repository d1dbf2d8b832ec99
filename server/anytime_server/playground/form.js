/** The form: what is asked and how long it may be thought about, as the wire has it; faults beside their fields. */

const at = (id) => document.getElementById(id);

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
const SHOWN_EXAMPLES = 4;
const DEFAULT_BUDGET = 1024;

/** The form in the page. Calls `changed` whenever the request is another. */
export class Form {
  /** Budgets in tokens that the model was made for, ascending. */
  #usual = [];
  #followed = true;

  constructor(changed) {
    this.changed = changed;
    const budget = at("budget");
    const slider = at("budget-slider");
    slider.addEventListener("input", () => (budget.value = slider.value));
    budget.addEventListener("input", () => (slider.value = budget.value));
    at("unlimited").addEventListener("change", () => {
      budget.disabled = slider.disabled = at("unlimited").checked;
    });
    at("stable-on").addEventListener("change", () => (at("stable-fields").hidden = !at("stable-on").checked));
    at("budgets").addEventListener("input", () => this.#follow(false));
    at("budgets-default").addEventListener("click", () => {
      this.#follow(true);
      at("budgets").focus();
    });
    at("form").addEventListener("input", (event) => {
      this.#clear(event.target);
      this.#suggest();
      this.changed();
    });
  }

  /** Set the scale, the defaults and the examples for a model, by its card. */
  configure({ max_model_len: window, anytime: manifest }) {
    this.#usual = manifest.budgets;
    const largest = this.#usual.at(-1);
    const most = largest ? Math.ceil(largest * 1.5) : (window ?? DEFAULT_BUDGET);
    const slider = at("budget-slider");
    slider.max = window ? Math.min(most, window) : most;
    slider.step = Math.max(1, 10 ** Math.floor(Math.log10(slider.max / 100)));
    at("budget").value = slider.value = largest ?? Math.min(DEFAULT_BUDGET, Math.floor(most / 2));
    at("step").value = at("every").value = this.#usual[0] ?? 64;
    this.#suggest();
    this.#offer(manifest.examples);
    this.changed();
  }

  /** The most that the slider shows. */
  get scale() {
    return Number(at("budget-slider").max);
  }

  get question() {
    return at("question").value;
  }

  set question(text) {
    at("question").value = text;
    this.#clear(at("question"));
    this.changed();
  }

  /** Tokens of the budget; null without a limit. */
  get budget() {
    return at("unlimited").checked ? null : number("budget");
  }

  get deadline() {
    return number("deadline");
  }

  /** Where provisional answers are asked for; what is no number is left out. */
  get budgets() {
    return at("budgets").value.match(/\d+/g)?.map(Number) ?? [];
  }

  /** The options of the request, without what is not given. */
  get options() {
    const { budget, deadline, budgets } = this;
    const options = {};
    if (deadline !== null) options.budget = given({ tokens: budget, deadline_ms: deadline });
    else if (budget !== null) options.budget = budget;
    if (budgets.length) options.budgets = budgets;
    if (at("stable-on").checked) {
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
    at("unlimited").checked = !given.has("budget");
    at("unlimited").dispatchEvent(new Event("change"));
    if (given.has("budget")) at("budget").value = at("budget-slider").value = given.get("budget");
    this.#suggest();
    this.question = given.get("question");
  }

  /** Show a fault of a field, named as on the wire, at its input. False if the form has no such input. */
  fault(field, message) {
    let name = field;
    while (name && !INPUTS[name]) name = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "";
    if (!name) return false;
    const input = at(INPUTS[name]);
    input.setAttribute("aria-invalid", "true");
    at(input.getAttribute("aria-describedby")).textContent = message;
    input.closest("details")?.setAttribute("open", "");
    input.focus();
    return true;
  }

  /** Look for what could not even be sent. True if there is nothing. */
  check() {
    for (const [name, id] of Object.entries(INPUTS)) {
      if (at(id).validity.badInput) return !this.fault(name, "This must be a number.");
    }
    if (!/^[\s\d,;]*$/.test(at("budgets").value)) {
      return !this.fault("budgets", "These must be whole numbers, with commas between them.");
    }
    if (!this.question.trim()) return !this.fault("messages", "There is no question yet.");
    return true;
  }

  #clear(input) {
    if (input.getAttribute("aria-invalid") !== "true") return;
    input.removeAttribute("aria-invalid");
    at(input.getAttribute("aria-describedby")).textContent = "";
  }

  #follow(followed) {
    this.#followed = followed;
    at("budgets-default").hidden = followed;
    this.#suggest();
    this.changed();
  }

  #suggest() {
    if (!this.#followed) return;
    at("budgets").value = this.#usual.filter((tokens) => tokens < (this.budget ?? Infinity)).join(", ");
    this.#clear(at("budgets"));
  }

  #offer(examples) {
    const buttons = examples.map((text, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.hidden = index >= SHOWN_EXAMPLES;
      button.addEventListener("click", () => {
        this.question = text;
        at("question").focus();
      });
      return button;
    });
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more-examples";
    more.textContent = "more examples";
    more.hidden = buttons.length <= SHOWN_EXAMPLES;
    more.addEventListener("click", () => {
      for (const button of buttons) button.hidden = false;
      more.hidden = true;
      buttons[SHOWN_EXAMPLES].focus();
    });
    at("examples").replaceChildren(...buttons, more);
    at("examples").hidden = !buttons.length;
  }
}

/** The fields that are not null. */
function given(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}

/** The number in an input; null where there is none. */
export function number(id) {
  const value = at(id).valueAsNumber;
  return Number.isNaN(value) ? null : value;
}
