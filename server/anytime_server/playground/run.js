/** A run: one session on the server, told to the view event by event, and its controls. */

import { RequestRefused, ServerUnreachable, StreamInterrupted } from "./anytime-client.js";

/** Causes after which there is nothing to think on from. */
const FINISHED = new Set(["natural", "context"]);

/** One run after another. */
export class Run {
  #connect;
  #view;
  #stream = null;
  #stopped = false;
  /** What was asked, with what the view needs of the form, and the end of a run that it goes on from, or null. */
  #asked = null;
  /** The end that can be gone on from, `{question, continuation, tokens, thinking}`, or null. */
  #resumable = null;
  /** Index of the final answer, once it has begun. */
  #final = null;

  /** `connect` gives the client to ask with. */
  constructor(connect, view) {
    this.#connect = connect;
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
    return this.#read({ question, options, shape, from: null });
  }

  /** Think on from the last end, its budget on top. */
  async resume({ options, shape }) {
    const from = this.#resumable;
    const { question, continuation } = from;
    return this.#read({ question, options: { ...options, continuation }, shape, from });
  }

  async #read(asked) {
    this.#asked = asked;
    this.#stopped = false;
    this.#final = null;
    this.#view.wait();
    this.#stream = this.#connect().think(asked.question, asked.options);
    try {
      for await (const event of this.#stream) this.#on[event.type]?.(event);
      if (this.#stopped) this.#view.left("Stopped");
      return null;
    } catch (error) {
      if (this.#stopped) this.#view.left("Stopped");
      else this.#view.failed(...told(error));
      return this.#stopped ? null : error;
    } finally {
      this.#stream = null;
      this.#view.offer(this.#resumable !== null);
    }
  }

  #on = {
    started: ({ budget }) => {
      const { from, shape } = this.#asked;
      this.#resumable = from;
      this.#view.start({ ...shape, from, budget: budget.tokens, limited: shape.budget !== null });
    },
    thinking: (event) => this.#view.think(event.text, this.#before + event.total_tokens),
    "answer.started": (event) => {
      if (event.provisional) return;
      this.#view.cut(event.cause);
      this.#final = event.index;
    },
    "answer.delta": (event) => {
      if (event.index === this.#final) this.#view.write(event.text);
    },
    "answer.done": (event) => {
      if (event.provisional) this.#view.answer(event, this.#before);
      else this.#view.settle(event);
    },
    done: (event) => {
      this.#resumable = this.#end(event);
      this.#view.done(event);
    },
  };

  /** Tokens that were thought before the run. */
  get #before() {
    return this.#asked.from?.tokens ?? 0;
  }

  #end({ continuation, stop }) {
    if (!continuation || FINISHED.has(stop.cause)) return null;
    const { question, from } = this.#asked;
    return {
      question,
      continuation,
      tokens: this.#before + stop.thinking_tokens,
      thinking: (from?.thinking ?? "") + this.#stream.thinking,
    };
  }

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
function told(error) {
  if (error instanceof StreamInterrupted) {
    const reason = error.message[0].toUpperCase() + error.message.slice(1);
    return ["Interrupted", `${reason}. What had come is kept.`];
  }
  if (error instanceof ServerUnreachable) return ["Not asked", "No server answers here."];
  if (error instanceof RequestRefused) return ["Refused", error.message + later(error)];
  return ["Failed", error.message];
}

/** When to try again, where the server says so. */
function later({ retryAfterS }) {
  if (retryAfterS === null) return "";
  const seconds = Math.max(1, Math.ceil(retryAfterS));
  return ` Try again in ${seconds} second${seconds === 1 ? "" : "s"}.`;
}
