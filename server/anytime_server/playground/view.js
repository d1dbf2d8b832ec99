/** Shows a run: status, ruler, thinking, answers, curve and controls. Knows nothing about the network. */

import { AnswerStyles, count, glyph, percent } from "./answers.js";
import { element } from "./page.js";
import { Ruler } from "./ruler.js";

/** Reasons why the thinking stopped, in words. */
const CAUSES = {
  natural: "ended by the model",
  budget: "budget used up",
  deadline: "deadline reached",
  client: "answer requested",
  stable: "answers agree",
  load: "server under load",
  context: "context window full",
  loop: "repeats itself",
};
/** Longer answers are shown in a smaller font, in characters. */
const MAX_SHORT_ANSWER = 40;

/** The run in the page. */
export class View {
  /** The accuracy curve of the model, or null. */
  curve = null;
  #ruler = new Ruler(element("ruler"));
  #styles = new AnswerStyles();
  /** Thinking that has not been drawn yet. */
  #undrawn = "";
  #isDrawPending = false;
  #tokens = 0;
  /** Budget of the shown run, in tokens; null before the first run starts. */
  #budget = null;
  /** Note on an answer that reached its token limit. */
  #cutOffNote = "";
  #sentAt = 0;
  #clock = 0;

  /** Show what the form requests, before a run starts. `budget` is null without a limit. */
  preview({ budget, scale, planned }) {
    if (this.#budget !== null) {
      if (element("run").dataset.phase === "ended") this.#showExpectedAccuracy(budget);
      return;
    }
    this.#ruler.setScale({ extent: budget ?? scale, limited: budget !== null, planned });
    this.#showExpectedAccuracy(budget);
  }

  /** A request is being sent. The previous run stays in the page until this one starts. */
  wait() {
    element("notice").hidden = true;
    element("continue").hidden = true;
    this.#sentAt = performance.now();
    clearInterval(this.#clock);
    this.#clock = setInterval(() => this.#draw(), 100);
    this.#setPhase("waiting", "Waiting for a slot");
    if (element("answer").getBoundingClientRect().bottom > innerHeight) element("run").scrollIntoView();
  }

  /**
   * A run starts. If it resumes an earlier one at `from` `{tokens, thinking}`, the content after that point is
   * removed from the page; otherwise everything is. `budget` is the budget of this run alone. The ruler ends at
   * the budget if the form set a limit (`limited`).
   */
  start({ from, budget, limited, scale, planned }) {
    const before = from?.tokens ?? 0;
    if (from) this.#rewind(from);
    else this.#clear();
    this.#tokens = before;
    this.#budget = before + budget;
    this.#ruler.setScale({
      extent: limited ? this.#budget : before + scale,
      limited,
      planned: planned.map((tokens) => before + tokens),
    });
    element("summary").textContent = "";
    this.#setPhase("thinking", "Thinking");
  }

  #clear() {
    this.#ruler.clear();
    this.#styles = new AnswerStyles();
    this.#undrawn = "";
    element("thinking").replaceChildren();
    element("answers").replaceChildren();
    element("answers-panel").hidden = true;
    this.#setAnswer("", { state: "none" });
  }

  #rewind({ tokens, thinking }) {
    this.#ruler.rewind(tokens);
    this.#undrawn = "";
    element("thinking").textContent = thinking;
    for (const item of [...element("answers").children]) if (Number(item.dataset.tokens) > tokens) item.remove();
  }

  /** Enter a phase: `waiting`, `thinking`, `answering` or `ended`. `spoken` is for screen readers only. */
  #setPhase(phase, status, spoken = "") {
    element("run").dataset.phase = phase;
    element("answer-now").disabled = element("extend").disabled = phase !== "thinking";
    element("stop").disabled = phase === "ended";
    element("status").textContent = status;
    if (spoken) element("status").append(visuallyHidden(spoken));
    if (phase === "thinking" && document.activeElement === document.body)
      element("status").focus({ preventScroll: true }); // not a button: the Enter key may still be pressed
    if (phase === "ended") clearInterval(this.#clock);
    this.#draw();
  }

  setBudget(tokens) {
    this.#budget = tokens;
    this.#ruler.setLimit(tokens);
    this.#draw();
  }

  addThinking(text, tokens) {
    this.#undrawn += text;
    this.#tokens = tokens;
    this.#draw();
  }

  /** Add a complete early answer. `before` is the number of thinking tokens before this run. */
  addEarlyAnswer({ at_tokens, text, confidence }, before) {
    const tokens = before + at_tokens;
    this.#addAnswer({ tokens, text, confidence, final: false });
    if (element("run").dataset.phase === "thinking") {
      this.#setAnswer(text, { state: "provisional", title: `Early answer after ${count(tokens, "token")}` });
    }
  }

  /** The thinking has stopped and the final answer starts. */
  startAnswer(cause) {
    this.#ruler.markStop(this.#tokens, describeCause(cause));
    this.#setPhase("answering", `Answering: ${describeCause(cause)}`);
    this.#setAnswer("", { state: "final" });
  }

  extendAnswer(text) {
    this.#setAnswer(element("answer").textContent + text, { state: "final" });
  }

  finishAnswer({ text, confidence, finish_reason, answer_tokens }) {
    this.#cutOffNote =
      finish_reason === "length" ? `The answer was cut off at its limit of ${count(answer_tokens, "token")}. ` : "";
    this.#addAnswer({ tokens: this.#tokens, text, confidence, final: true });
    this.#setAnswer(text, { state: "final" });
  }

  /** The end of a successful run. */
  finish({ stop, answer, usage, timing }) {
    element("summary").textContent = this.#cutOffNote + summary(stop, usage, timing);
    this.#setPhase("ended", `Done: ${describeCause(stop.cause)}`, `. The answer: ${answer}`);
    if (stop.cause === "natural") this.#showExpectedAccuracy(this.#budget);
    else this.curve?.pointAt(this.#tokens, `Truncated at ${count(this.#tokens, "token")}`);
  }

  /** The end of a failed run. The text received so far stays. */
  fail(status, message) {
    element("notice").firstElementChild.textContent = message;
    element("notice").hidden = false;
    this.endWithoutAnswer(status);
  }

  endWithoutAnswer(status) {
    if (element("run").dataset.phase !== "waiting") {
      this.curve?.pointAt(this.#tokens, `Ended at ${count(this.#tokens, "token")}`);
    }
    this.#setPhase("ended", status);
  }

  /** Show or hide the button that resumes the thinking. */
  offerResume(isResumable) {
    element("continue").hidden = !isResumable;
  }

  /** Show the accuracy at the whole budget; null without a limit. */
  #showExpectedAccuracy(budget) {
    this.curve?.pointAt(
      budget ?? Infinity,
      budget === null ? "Without a limit" : `With a budget of ${count(budget, "token")}`,
    );
  }

  #setAnswer(text, { state, title = "Answer" }) {
    const answer = element("answer");
    answer.textContent = text;
    answer.dataset.state = state;
    answer.dataset.size = text.length > MAX_SHORT_ANSWER ? "long" : "short";
    element("answer-title").textContent = title;
  }

  /** Add a complete answer to the ruler and to the list. */
  #addAnswer({ tokens, text, confidence, final }) {
    const style = this.#styles.of(text);
    this.#ruler.addAnswer({ tokens, text, confidence, style, final });
    const item = document.createElement("li");
    const words = document.createElement("span");
    words.className = "words";
    words.textContent = text;
    const details = document.createElement("span");
    details.className = "details";
    details.textContent = `${final ? "final, " : ""}after ${count(tokens, "token")}, ${percent(confidence)} confidence`;
    item.append(glyph(style), words, details);
    item.dataset.tokens = tokens;
    const later = [...element("answers").children].find((other) => Number(other.dataset.tokens) > tokens);
    element("answers").insertBefore(item, later ?? null);
    element("answers-panel").hidden = false;
  }

  /** Draw all changes at the next frame. */
  #draw() {
    if (this.#isDrawPending) return;
    this.#isDrawPending = true;
    requestAnimationFrame(() => {
      this.#isDrawPending = false;
      const box = element("thinking");
      const isScrolledToEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      if (this.#undrawn) box.append(this.#undrawn);
      this.#undrawn = "";
      if (isScrolledToEnd) box.scrollTop = box.scrollHeight;
      this.#ruler.setTokens(this.#tokens);
      const { phase } = element("run").dataset;
      const counts = [];
      if (this.#budget !== null && phase !== "waiting") {
        counts.push(`${this.#tokens.toLocaleString("en")} of ${count(this.#budget, "token")}`);
      }
      if (phase !== "ended") counts.push(`${((performance.now() - this.#sentAt) / 1000).toFixed(1)} s`);
      element("count").textContent = counts.join(", ");
      if (phase === "thinking") {
        this.curve?.pointAt(this.#tokens, `If truncated now, at ${count(this.#tokens, "token")}`);
      }
    });
  }
}

/** A cause in words. A cause that only a later server knows is shown by its name. */
function describeCause(cause) {
  return CAUSES[cause] ?? cause;
}

function summary(stop, usage, timing) {
  const early = usage.provisional_tokens ? `, ${usage.provisional_tokens} early answers` : "";
  return (
    `Tokens: ${stop.thinking_tokens} thinking, ${usage.answer_tokens} answer${early}, ` +
    `${usage.prompt_tokens} prompt, ${usage.inserted_tokens} inserted, ${usage.cached_tokens} cached. ` +
    `First token after ${time(timing.time_to_first_token_s)}, ` +
    `answer ${time(timing.cut_to_answer_s)} after the thinking, ${time(timing.total_s)} in total.`
  );
}

function time(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}

function visuallyHidden(text) {
  const span = document.createElement("span");
  span.className = "visually-hidden";
  span.textContent = text;
  return span;
}
