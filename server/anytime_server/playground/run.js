/** A run: one session on the server, told to the view event by event, and its controls. */

import { count } from "./answers.js";
import { RequestRefused, ServerUnreachable, StreamInterrupted } from "./anytime-client.js";

/** Causes after which there is nothing to think on from. */
const FINISHED = new Set(["natural", "context"]);

/** One run after another. */
export class Run {
  #client;
  #view;
  #stream = null;
  #stopped = false;
  /** Of the run that can go on: its question, continuation, and tokens so far. */
  #resumable = null;
  #before = 0;

  constructor(client, view) {
    this.#client = client;
    this.#view = view;
  }

  get going() {
    return this.#stream !== null;
  }

  /**
   * Ask, and return when the run has ended. `shape` is what the view needs of the form.
   * Gives the error that ended it, or null.
   */
  async ask({ question, options, shape }) {
    this.#before = 0;
    return this.#follow({ question, options, shape });
  }

  /** Think on from where the last run was cut, its budget on top. */
  async resume({ options, shape }) {
    const { question, continuation, tokens } = this.#resumable;
    this.#before = tokens;
    return this.#follow({ question, options: { ...options, continuation }, shape });
  }

  async #follow({ question, options, shape }) {
    this.#stopped = false;
    this.#resumable = null;
    this.#view.begin({ before: this.#before, ...shape });
    this.#stream = this.#client.think(question, options);
    try {
      for await (const event of this.#stream) this.#on[event.type]?.(event, question);
      if (this.#stopped) this.#view.phase("ended", "Stopped");
      return null;
    } catch (error) {
      if (this.#stopped) this.#view.phase("ended", "Stopped");
      else this.#view.failed(...told(error, this.#view.tokens));
      return this.#stopped ? null : error;
    } finally {
      this.#stream = null;
    }
  }

  #on = {
    started: (event) => {
      this.#view.limit(this.#before + event.budget.tokens);
      this.#view.phase("thinking", "Thinking");
    },
    thinking: (event) => this.#view.think(event.text, this.#before + event.total_tokens),
    "answer.started": (event) => {
      if (!event.provisional) this.#view.cut(event.cause);
      this.#final = event.provisional ? this.#final : event.index;
    },
    "answer.delta": (event) => {
      if (event.index === this.#final) this.#view.write(event.text);
    },
    "answer.done": (event) => {
      if (event.provisional) this.#view.answer(event, this.#before);
      else this.#view.settle(event);
    },
    done: (event, question) => {
      const resumable = Boolean(event.continuation) && !FINISHED.has(event.stop.cause);
      if (resumable) {
        this.#resumable = { question, continuation: event.continuation, tokens: this.#view.tokens };
      }
      this.#view.done(event, resumable);
    },
  };
  #final = null;

  async answerNow() {
    await this.#stream?.answerNow();
  }

  async extend(tokens) {
    this.#view.limit(this.#before + (await this.#stream.extend(tokens)));
  }

  /** End it and drop what is under way; what had come stays. */
  async stop() {
    if (!this.#stream) return;
    this.#stopped = true;
    if (this.#stream.id === null) await this.#stream.close();
    else await this.#stream.cancel();
  }
}

/** An error as `[status, message]`. */
function told(error, tokens) {
  if (error instanceof StreamInterrupted) {
    return [
      "Interrupted",
      `The connection to the server broke after ${count(tokens, "token")}. What had come is kept.`,
    ];
  }
  if (error instanceof ServerUnreachable) return ["Not asked", "No server answers here."];
  if (error instanceof RequestRefused) return ["Refused", error.message];
  return ["Failed", error.message];
}
