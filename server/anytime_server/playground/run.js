/** A run: one session on the server, shown in the view event by event, and its controls. */

import { RequestRefused, ServerUnreachable, StreamInterrupted } from "./anytime-client.js";

/** Causes after which the thinking cannot be resumed. */
const FINAL_CAUSES = new Set(["natural", "context"]);

/** Performs one run after another. */
export class Run {
  #connect;
  #view;
  #stream = null;
  #isStopped = false;
  /** The current request, `{question, options, plan, from}`: `from` is the end that it resumes, or null. */
  #request = null;
  /** The end that can be resumed, `{question, continuation, tokens, thinking}`, or null. */
  #resumable = null;
  /** Index of the final answer, once it has started. */
  #finalIndex = null;

  /** `connect` creates the client. */
  constructor(connect, view) {
    this.#connect = connect;
    this.#view = view;
  }

  get isActive() {
    return this.#stream !== null;
  }

  /**
   * Run a session until it ends. `plan` is the part of the form that the view needs.
   * Returns the error that ended the session, or null.
   */
  async ask({ question, options, plan }) {
    return this.#read({ question, options, plan, from: null });
  }

  /** Resume the thinking of the last run, with the budget added to it. */
  async resume({ options, plan }) {
    const from = this.#resumable;
    const { question, continuation } = from;
    return this.#read({ question, options: { ...options, continuation }, plan, from });
  }

  async #read(request) {
    this.#request = request;
    this.#isStopped = false;
    this.#finalIndex = null;
    this.#view.wait();
    this.#stream = this.#connect().think(request.question, request.options);
    try {
      for await (const event of this.#stream) this.#handlers[event.type]?.(event);
      if (this.#isStopped) this.#view.endWithoutAnswer("Stopped");
      return null;
    } catch (error) {
      if (this.#isStopped) this.#view.endWithoutAnswer("Stopped");
      else this.#view.fail(...describe(error));
      return this.#isStopped ? null : error;
    } finally {
      this.#stream = null;
      this.#view.offerResume(this.#resumable !== null);
    }
  }

  #handlers = {
    started: ({ budget }) => {
      const { from, plan } = this.#request;
      this.#resumable = from;
      this.#view.start({ ...plan, from, budget: budget.tokens, limited: plan.budget !== null });
    },
    thinking: (event) => this.#view.addThinking(event.text, this.#tokensBefore + event.total_tokens),
    "answer.started": (event) => {
      if (event.provisional) return;
      this.#view.startAnswer(event.cause);
      this.#finalIndex = event.index;
    },
    "answer.delta": (event) => {
      if (event.index === this.#finalIndex) this.#view.extendAnswer(event.text);
    },
    "answer.done": (event) => {
      if (event.provisional) this.#view.addEarlyAnswer(event, this.#tokensBefore);
      else this.#view.finishAnswer(event);
    },
    done: (event) => {
      this.#resumable = this.#resumableEnd(event);
      this.#view.finish(event);
    },
  };

  /** Thinking tokens before this run. */
  get #tokensBefore() {
    return this.#request.from?.tokens ?? 0;
  }

  #resumableEnd({ continuation, stop }) {
    if (!continuation || FINAL_CAUSES.has(stop.cause)) return null;
    const { question, from } = this.#request;
    return {
      question,
      continuation,
      tokens: this.#tokensBefore + stop.thinking_tokens,
      thinking: (from?.thinking ?? "") + this.#stream.thinking,
    };
  }

  async answerNow() {
    await this.#stream?.answerNow();
  }

  async extend(tokens) {
    this.#view.setBudget(this.#tokensBefore + (await this.#stream.extend(tokens)));
  }

  /** Cancel the session. The text received so far stays in the page. */
  async stop() {
    if (!this.#stream) return;
    this.#isStopped = true;
    if (this.#stream.id === null) await this.#stream.close();
    else await this.#stream.cancel();
  }
}

/** The status and the message that describe an error. */
function describe(error) {
  if (error instanceof StreamInterrupted) {
    const reason = error.message[0].toUpperCase() + error.message.slice(1);
    return ["Interrupted", `${reason}. The text received so far is kept.`];
  }
  if (error instanceof ServerUnreachable) return ["Not sent", "The server cannot be reached."];
  if (error instanceof RequestRefused) return ["Refused", error.message + retryHint(error)];
  return ["Failed", error.message];
}

/** A sentence with the time to wait before the next attempt, if the server gives it. */
function retryHint({ retryAfterS }) {
  if (retryAfterS === null) return "";
  const seconds = Math.max(1, Math.ceil(retryAfterS));
  return ` Try again in ${seconds} second${seconds === 1 ? "" : "s"}.`;
}
