/// <reference lib="esnext.disposable" preserve="true" />
/** One session: its events as an async iterable, its result, and its controls. */

import { TimedOut } from "./errors.ts";
import type { AnswerDone, Event, Result } from "./events.ts";
import type { Http } from "./http.ts";
import { StreamState } from "./stream-state.ts";
import { startTimer, withTimeout } from "./timers.ts";

/** Older runtimes lack `Symbol.asyncDispose`; there, compiled `await using` looks for the registered symbol. */
const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

/** Controls of a session, by its id. */
export interface Controls {
  answerNow(id: string): Promise<boolean>;
  extend(id: string, tokens: number): Promise<number>;
  cancel(id: string): Promise<void>;
}

/** Constructor arguments of a stream. */
export interface StreamInit {
  http: Http;
  controls: Controls;
  /** Body of the request. */
  body: object;
  signal: AbortSignal | undefined;
  timeoutS: number;
}

/**
 * A session: `for await` yields its events, `result()` reads it to its end. It can be read once, and the request
 * is sent when reading begins. Leaving the loop early, or the scope of `await using`, cancels the session.
 */
export class Stream implements AsyncIterable<Event>, AsyncDisposable {
  static {
    Stream.prototype[asyncDispose] = async function () {
      this.close();
    };
  }

  declare [Symbol.asyncDispose]: () => Promise<void>;
  readonly #init: StreamInit;
  readonly #state = new StreamState();
  readonly #aborter = new AbortController();
  readonly #events: AsyncGenerator<Event, void, undefined>;
  #stopTimers: () => void = () => {};
  /** Closed or cancelled by the caller: the broken read that follows is not an error. */
  #closed = false;
  #failure: { reason: unknown } | null = null;

  constructor(init: StreamInit) {
    this.#init = init;
    this.#events = this.#read();
  }

  /** Id of the session; null until `started` has been received. */
  get id(): string | null {
    return this.#state.started?.id ?? null;
  }

  /** The thinking received so far. */
  get thinking(): string {
    return this.#state.thinking;
  }

  /** The complete answers received so far, in the order received. */
  get answers(): readonly AnswerDone[] {
    return this.#state.answers;
  }

  [Symbol.asyncIterator](): AsyncGenerator<Event, void, undefined> {
    return this.#events;
  }

  /** Read the stream to its end and return the whole session. Throws as the iteration does, and if it was closed. */
  async result(): Promise<Result> {
    for await (const _ of this.#events);
    if (this.#failure) throw this.#failure.reason;
    if (!this.#state.result) throw this.#state.interrupted("the stream was closed before the answer was done");
    return this.#state.result;
  }

  /** Stop the thinking; false if the session is answering already or has ended. */
  async answerNow(): Promise<boolean> {
    return this.#init.controls.answerNow(this.#startedId());
  }

  /** Raise the budget by `tokens`, at most to what fits the context window; returns the new budget. */
  async extend(tokens: number): Promise<number> {
    return this.#init.controls.extend(this.#startedId(), tokens);
  }

  /** Cancel the session. The iteration ends without an error. */
  async cancel(): Promise<void> {
    const id = this.#startedId();
    this.#closed = true;
    try {
      await this.#init.controls.cancel(id);
    } finally {
      this.#disconnect();
    }
  }

  /** Close the connection; the server cancels the session. The iteration ends without an error. */
  close(): void {
    this.#closed = true;
    this.#disconnect();
  }

  #startedId(): string {
    if (this.id === null) throw new Error("the session has not started");
    return this.id;
  }

  async *#read(): AsyncGenerator<Event, void, undefined> {
    const { signal } = this.#aborter;
    try {
      this.#startTimers();
      for await (const chunk of this.#chunks()) {
        for (const event of this.#state.feed(chunk)) {
          if (event.type === "done") this.#disconnect();
          yield event;
          if (event.type === "done") return;
          signal.throwIfAborted();
        }
      }
      throw this.#state.interrupted("the stream ended before the answer was done");
    } catch (error) {
      if (this.#closed) return;
      this.#failure = { reason: signal.aborted ? signal.reason : error };
      throw this.#failure.reason;
    } finally {
      this.#disconnect();
    }
  }

  async *#chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    const { http, body, timeoutS } = this.#init;
    const response = await http.send("POST", "/v1/anytime", body, this.#aborter, timeoutS);
    const contentType = response.headers.get("Content-Type") ?? "";
    if (!response.body || !contentType.startsWith("text/event-stream")) {
      throw this.#state.interrupted(`${http.url} answered with "${contentType}", not with an event stream`);
    }
    const reader = response.body.getReader();
    const onSilence = () =>
      this.#aborter.abort(this.#state.interrupted(`${http.url} has been silent for ${http.silenceTimeoutS} s`));
    for (;;) {
      const read = reader.read().catch((error: unknown) => {
        throw this.#state.interrupted(`the connection to ${http.url} broke`, { cause: error });
      });
      const { done, value } = await withTimeout(read, http.silenceTimeoutS, onSilence);
      if (done) return;
      yield value;
    }
  }

  /** Abort at the caller's signal or time-out, until `#stopTimers`. */
  #startTimers(): void {
    const { signal, timeoutS } = this.#init;
    const abort = () => this.#aborter.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    const stop = startTimer(timeoutS, () => this.#aborter.abort(new TimedOut(`not done within ${timeoutS} s`)));
    this.#stopTimers = () => {
      stop();
      signal?.removeEventListener("abort", abort);
    };
  }

  #disconnect(): void {
    this.#stopTimers();
    this.#aborter.abort();
  }
}
