/** What a run looks like: status, ruler, thinking, answers, curve and controls. Knows nothing of the network. */

import { count, glyph, Looks, percent } from "./answers.js";
import { element } from "./page.js";
import { Ruler } from "./ruler.js";

/** Why the thinking stopped, in words. */
const CAUSES = {
  natural: "ended by the model",
  budget: "budget used up",
  deadline: "deadline",
  client: "you asked",
  stable: "answers agree",
  load: "load",
  context: "window full",
};
const SHORT_ANSWER = 40;

/** The run in the page. */
export class View {
  /** Set once the model's curve is known. */
  curve = null;
  #ruler = new Ruler(element("ruler"));
  #looks = new Looks();
  #unpainted = "";
  #painting = false;
  #tokens = 0;
  /** Of the run that is shown, in tokens; null before the first one starts. */
  #budget = null;
  /** What to say of an answer that is not whole. */
  #cutShort = "";
  #since = 0;
  #clock = 0;

  /** What the form asks for, before anything has started. `budget` null: no limit. */
  preview({ budget, scale, planned }) {
    if (this.#budget !== null) {
      if (element("run").dataset.phase === "ended") this.#expect(budget);
      return;
    }
    this.#ruler.scale({ extent: budget ?? scale, limited: budget !== null, planned });
    this.#expect(budget);
  }

  /** A run is asked for. What the one before it left stays until it starts. */
  wait() {
    element("notice").hidden = true;
    element("continue").hidden = true;
    this.#since = performance.now();
    clearInterval(this.#clock);
    this.#clock = setInterval(() => this.#paint(), 100);
    this.phase("waiting", "Waiting for its turn");
    if (element("answer").getBoundingClientRect().bottom > innerHeight) element("run").scrollIntoView();
  }

  /**
   * A run starts: anew, or goes on `from` `{tokens, thinking}`, and what was after that in the page is gone.
   * `budget` is what the server grants on top; the ruler ends there if it was `limited` by the form, too.
   */
  start({ from, budget, limited, scale, planned }) {
    const before = from?.tokens ?? 0;
    if (from) this.#goBack(from);
    else this.#clear();
    this.#tokens = before;
    this.#budget = before + budget;
    this.#ruler.scale({
      extent: limited ? this.#budget : before + scale,
      limited,
      planned: planned.map((tokens) => before + tokens),
    });
    element("summary").textContent = "";
    this.phase("thinking", "Thinking");
  }

  #clear() {
    this.#ruler.clear();
    this.#looks = new Looks();
    this.#unpainted = "";
    element("thinking").replaceChildren();
    element("answers").replaceChildren();
    element("answers-panel").hidden = true;
    this.#say("", { state: "none" });
  }

  #goBack({ tokens, thinking }) {
    this.#ruler.rewind(tokens);
    this.#unpainted = "";
    element("thinking").textContent = thinking;
    for (const item of [...element("answers").children]) if (Number(item.dataset.tokens) > tokens) item.remove();
  }

  /** Which phase: `waiting`, `thinking`, `answering` or `ended`; and what to say of it. */
  phase(phase, words, aloud = "") {
    element("run").dataset.phase = phase;
    element("answer-now").disabled = element("extend").disabled = phase !== "thinking";
    element("stop").disabled = phase === "ended";
    element("status").textContent = words;
    if (aloud) element("status").append(unseen(aloud));
    if (phase === "thinking" && document.activeElement === document.body)
      element("status").focus({ preventScroll: true }); // not at a button: Enter may still be down
    if (phase === "ended") clearInterval(this.#clock);
    this.#paint();
  }

  /** The budget moved. */
  limit(tokens) {
    this.#budget = tokens;
    this.#ruler.limit(tokens);
    this.#paint();
  }

  think(text, tokens) {
    this.#unpainted += text;
    this.#tokens = tokens;
    this.#paint();
  }

  /** A whole provisional answer. */
  answer({ at_tokens, text, confidence }, before) {
    const look = this.#looks.of(text);
    const tokens = before + at_tokens;
    this.#ruler.answer({ tokens, text, confidence, look, final: false });
    this.#list({ tokens, text, confidence, look });
    if (element("run").dataset.phase === "thinking") {
      this.#say(text, { state: "provisional", title: `Answer so far, after ${count(tokens, "token")}` });
    }
  }

  /** The thinking is over and the answer begins. */
  cut(cause) {
    this.#ruler.cut(this.#tokens, inWords(cause));
    this.phase("answering", `Answering: ${inWords(cause)}`);
    this.#say("", { state: "final" });
  }

  /** More of the answer. */
  write(text) {
    this.#say(element("answer").textContent + text, { state: "final" });
  }

  /** The whole answer. */
  settle({ text, confidence, finish_reason, answer_tokens }) {
    this.#cutShort =
      finish_reason === "length" ? `The answer was cut off at its limit of ${count(answer_tokens, "token")}. ` : "";
    this.#ruler.answer({ tokens: this.#tokens, text, confidence, look: this.#looks.of(text), final: true });
    this.#list({ tokens: this.#tokens, text, confidence, look: this.#looks.of(text), final: true });
    this.#say(text, { state: "final" });
  }

  /** The end of a run that went well. */
  done({ stop, answer, usage, timing }) {
    element("summary").textContent = this.#cutShort + summary(stop, usage, timing);
    this.phase("ended", `Done: ${inWords(stop.cause)}`, `. The answer: ${answer}`);
    if (stop.cause === "natural") this.#expect(this.#budget);
    else this.curve?.pointAt(this.#tokens, `Cut at ${count(this.#tokens, "token")}`);
  }

  /** The end of a run that went wrong; what had come stays. */
  failed(words, message) {
    element("notice").firstElementChild.textContent = message;
    element("notice").hidden = false;
    this.left(words);
  }

  /** The end of a run without a final answer. */
  left(words) {
    if (element("run").dataset.phase !== "waiting") {
      this.curve?.pointAt(this.#tokens, `It had come to ${count(this.#tokens, "token")}`);
    }
    this.phase("ended", words);
  }

  /** Whether what is in the page can be thought on from. */
  offer(resumable) {
    element("continue").hidden = !resumable;
  }

  /** Point at what the whole budget gives; null: no limit. */
  #expect(budget) {
    this.curve?.pointAt(
      budget ?? Infinity,
      budget === null ? "Without a limit" : `With a budget of ${count(budget, "token")}`,
    );
  }

  #say(text, { state, title = "Answer" }) {
    const answer = element("answer");
    answer.textContent = text;
    answer.dataset.state = state;
    answer.dataset.size = text.length > SHORT_ANSWER ? "long" : "short";
    element("answer-title").textContent = title;
  }

  #list({ tokens, text, confidence, look, final = false }) {
    const item = document.createElement("li");
    const words = document.createElement("span");
    words.className = "words";
    words.textContent = text;
    const where = document.createElement("span");
    where.className = "where";
    where.textContent = `${final ? "final, " : ""}after ${count(tokens, "token")}, ${percent(confidence)} sure`;
    item.append(glyph(look), words, where);
    item.dataset.tokens = tokens;
    const later = [...element("answers").children].find((other) => Number(other.dataset.tokens) > tokens);
    element("answers").insertBefore(item, later ?? null);
    element("answers-panel").hidden = false;
  }

  /** Once a frame, whatever has come. */
  #paint() {
    if (this.#painting) return;
    this.#painting = true;
    requestAnimationFrame(() => {
      this.#painting = false;
      const box = element("thinking");
      const followed = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      if (this.#unpainted) box.append(this.#unpainted);
      this.#unpainted = "";
      if (followed) box.scrollTop = box.scrollHeight;
      this.#ruler.reach(this.#tokens);
      const { phase } = element("run").dataset;
      const said = [];
      if (this.#budget !== null && phase !== "waiting") {
        said.push(`${this.#tokens.toLocaleString("en")} of ${count(this.#budget, "token")}`);
      }
      if (phase !== "ended") said.push(`${((performance.now() - this.#since) / 1000).toFixed(1)} s`);
      element("count").textContent = said.join(", ");
      if (phase === "thinking") {
        this.curve?.pointAt(this.#tokens, `If cut now, at ${count(this.#tokens, "token")}`);
      }
    });
  }
}

/** A cause that only a later server knows is told by its name. */
function inWords(cause) {
  return CAUSES[cause] ?? cause;
}

function summary(stop, usage, timing) {
  const provisional = usage.provisional_tokens ? `, ${usage.provisional_tokens} of provisional answers` : "";
  return (
    `${count(stop.thinking_tokens, "token")} of thinking, ${usage.answer_tokens} of answer${provisional}, ` +
    `${usage.prompt_tokens} of prompt, ${usage.inserted_tokens} inserted, ${usage.cached_tokens} from the cache. ` +
    `First token after ${time(timing.time_to_first_token_s)}, answer ${time(timing.cut_to_answer_s)} after the cut, ` +
    `${time(timing.total_s)} in all.`
  );
}

function time(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}

function unseen(text) {
  const span = document.createElement("span");
  span.className = "unseen";
  span.textContent = text;
  return span;
}
