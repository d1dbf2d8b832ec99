/** What a run looks like: status, ruler, thinking, answers, curve and controls. Knows nothing of the network. */

import { count, glyph, Looks, percent } from "./answers.js";
import { Ruler } from "./ruler.js";

const at = (id) => document.getElementById(id);

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
  #ruler = new Ruler(at("ruler"));
  #looks = new Looks();
  #unpainted = "";
  #painting = false;
  #tokens = 0;
  #budget = null;
  #since = 0;
  #clock = 0;

  get tokens() {
    return this.#tokens;
  }

  /** What the form asks for, before it is asked. `budget` null: no limit. */
  preview({ budget, scale, planned }) {
    if (at("run").dataset.phase !== "idle") return;
    this.#ruler.scale({ extent: budget ?? scale, limited: budget !== null, planned });
    this.#expect(budget);
  }

  /** A run begins, or goes on after the tokens that were thought `before`. */
  begin({ before, budget, scale, planned }) {
    const limited = budget !== null;
    const extent = before + (budget ?? scale);
    this.#budget = limited ? extent : null;
    this.#tokens = before;
    if (before) this.#ruler.scale({ extent, limited, planned: planned.map((tokens) => before + tokens) });
    else {
      this.#ruler.reset({ extent, limited, planned });
      this.#looks = new Looks();
      this.#unpainted = "";
      at("thinking").replaceChildren();
      at("answers").replaceChildren();
      at("answers-panel").hidden = true;
      this.#say("", { state: "none" });
    }
    this.#expect(this.#budget);
    at("summary").textContent = "";
    at("notice").hidden = true;
    at("continue").hidden = true;
    this.#since = performance.now();
    clearInterval(this.#clock);
    this.#clock = setInterval(() => this.#paint(), 100);
    this.phase("waiting", "Waiting for its turn");
    if (at("answer").getBoundingClientRect().bottom > innerHeight) at("run").scrollIntoView();
  }

  /** Which phase: `waiting`, `thinking`, `answering` or `ended`; and what to say of it. */
  phase(phase, words, aloud = "") {
    at("run").dataset.phase = phase;
    at("answer-now").disabled = at("extend").disabled = phase !== "thinking";
    at("stop").disabled = phase === "ended";
    at("status").textContent = words;
    if (aloud) at("status").append(unseen(aloud));
    if (phase === "thinking" && document.activeElement === document.body)
      at("answer-now").focus({ preventScroll: true });
    if (phase === "ended") clearInterval(this.#clock);
    this.#paint();
  }

  /** The budget moved, or is smaller than was asked for. */
  limit(tokens) {
    if (this.#budget === null) return;
    this.#budget = tokens;
    this.#ruler.scale({ extent: tokens });
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
    this.#ruler.answer({ at: tokens, text, confidence, look, final: false });
    this.#list({ tokens, text, confidence, look });
    if (at("run").dataset.phase === "thinking") {
      this.#say(text, { state: "provisional", title: `Answer so far, after ${count(tokens, "token")}` });
    }
  }

  /** The thinking is over and the answer begins. */
  cut(cause) {
    this.#ruler.cut(this.#tokens, CAUSES[cause]);
    this.phase("answering", `Answering: ${CAUSES[cause]}`);
    this.#say("", { state: "final" });
  }

  /** More of the answer. */
  write(text) {
    this.#say(at("answer").textContent + text, { state: "final" });
  }

  /** The whole answer. */
  settle({ text, confidence }) {
    this.#ruler.answer({ at: this.#tokens, text, confidence, look: this.#looks.of(text), final: true });
    this.#list({ tokens: this.#tokens, text, confidence, look: this.#looks.of(text), final: true });
    this.#say(text, { state: "final" });
  }

  /** The end of a run that went well. */
  done({ stop, answer, usage, timing }, resumable) {
    at("summary").textContent = summary(stop, usage, timing);
    at("continue").hidden = !resumable;
    this.phase("ended", `Done: ${CAUSES[stop.cause]}`, `. The answer: ${answer}`);
    if (stop.cause === "natural") this.#expect(this.#budget);
    else this.curve?.at(this.#tokens, `Cut at ${count(this.#tokens, "token")}`);
  }

  /** The end of a run that went wrong; what had come stays. */
  failed(words, message) {
    at("notice").firstElementChild.textContent = message;
    at("notice").hidden = false;
    this.phase("ended", words);
  }

  /** Point at what the whole budget gives; null: no limit. */
  #expect(budget) {
    this.curve?.at(
      budget ?? Infinity,
      budget === null ? "Without a limit" : `With a budget of ${count(budget, "token")}`,
    );
  }

  #say(text, { state, title = "Answer" }) {
    const answer = at("answer");
    answer.textContent = text;
    answer.dataset.state = state;
    answer.dataset.size = text.length > SHORT_ANSWER ? "long" : "short";
    at("answer-title").textContent = title;
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
    const later = [...at("answers").children].find((other) => Number(other.dataset.tokens) > tokens);
    at("answers").insertBefore(item, later ?? null);
    at("answers-panel").hidden = false;
  }

  /** Once a frame, whatever has come. */
  #paint() {
    if (this.#painting) return;
    this.#painting = true;
    requestAnimationFrame(() => {
      this.#painting = false;
      const box = at("thinking");
      const followed = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      if (this.#unpainted) box.append(this.#unpainted);
      this.#unpainted = "";
      if (followed) box.scrollTop = box.scrollHeight;
      this.#ruler.reach(this.#tokens);
      const of = this.#budget === null ? "" : ` of ${this.#budget.toLocaleString("en")}`;
      at("count").textContent = `${this.#tokens.toLocaleString("en")}${of} tokens`;
      if (at("run").dataset.phase === "ended") return;
      at("count").append(`, ${((performance.now() - this.#since) / 1000).toFixed(1)} s`);
      if (at("run").dataset.phase === "thinking") {
        this.curve?.at(this.#tokens, `If cut now, at ${count(this.#tokens, "token")}`);
      }
    });
  }
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
