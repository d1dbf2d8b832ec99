/// <reference lib="esnext.disposable" preserve="true" />
/** One session: its events as they come, and the buttons to press. */

import { after, within } from "./clock.ts";
import { TimedOut } from "./errors.ts";
import type { AnswerDone, Event, Result } from "./events.ts";
import type { Http } from "./http.ts";
import { Reception } from "./reception.ts";

/** Not everything that runs this has the symbol; where it is missing, compiled `await using` looks for the other. */
const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

/** What a stream can ask of its session, by id. */
export interface Controls {
  answerNow(id: string): Promise<boolean>;
  extend(id: string, tokens: number): Promise<number>;
  cancel(id: string): Promise<void>;
}

/** What a stream is made of. */
export interface StreamParts {
  http: Http;
  controls: Controls;
  /** Of the request. */
  body: object;
  signal: AbortSignal | undefined;
  timeoutS: number;
}

/**
 * A session, read once: by `for await`, which yields its events, or by `result()`. The request is sent
 * when the reading begins. Leaving the loop before its end, or the scope of `await using`, cancels.
 */
export class Stream implements AsyncIterable<Event>, AsyncDisposable {
  static {
    Stream.prototype[asyncDispose] = async function () {
      this.close();
    };
  }

  declare [Symbol.asyncDispose]: () => Promise<void>;
  readonly #parts: StreamParts;
  readonly #reception = new Reception();
  readonly #aborter = new AbortController();
  readonly #events: AsyncGenerator<Event, void, undefined>;
  #disarm: () => void = () => {};
  /** By one's own wish: that the stream ends is then no error. */
  #left = false;
  #failure: { reason: unknown } | null = null;

  constructor(parts: StreamParts) {
    this.#parts = parts;
    this.#events = this.#read();
  }

  /** Names the session; null until `started` has come. */
  get id(): string | null {
    return this.#reception.started?.id ?? null;
  }

  /** The thinking that has come so far. */
  get thinking(): string {
    return this.#reception.thinking;
  }

  /** The whole answers that have come so far, in this order. */
  get answers(): readonly AnswerDone[] {
    return this.#reception.answers;
  }

  [Symbol.asyncIterator](): AsyncGenerator<Event, void, undefined> {
    return this.#events;
  }

  /** Read to the end. Throws what the iteration would; also when it was left before the end. */
  async result(): Promise<Result> {
    for await (const _ of this.#events);
    if (this.#failure) throw this.#failure.reason;
    if (!this.#reception.result) throw this.#reception.interrupted("the stream was left before the answer was done");
    return this.#reception.result;
  }

  /** Stop thinking and answer from what there is; false if it was answering already or had ended. */
  async answerNow(): Promise<boolean> {
    return this.#parts.controls.answerNow(this.#startedId());
  }

  /** Let it think for so many tokens more; gives the new budget, no more than the window has room for. */
  async extend(tokens: number): Promise<number> {
    return this.#parts.controls.extend(this.#startedId(), tokens);
  }

  /** Cancel the session. The iteration just ends. */
  async cancel(): Promise<void> {
    const id = this.#startedId();
    this.#left = true;
    try {
      await this.#parts.controls.cancel(id);
    } finally {
      this.#disconnect();
    }
  }

  /** Drop the connection, by which the server cancels. The iteration just ends. */
  close(): void {
    this.#left = true;
    this.#disconnect();
  }

  #startedId(): string {
    if (this.id === null) throw new Error("the session has not started");
    return this.id;
  }

  async *#read(): AsyncGenerator<Event, void, undefined> {
    const { signal } = this.#aborter;
    try {
      this.#arm();
      for await (const bytes of this.#bytes()) {
        for (const event of this.#reception.receive(bytes)) {
          if (event.type === "done") this.#disconnect();
          yield event;
          if (event.type === "done") return;
          signal.throwIfAborted();
        }
      }
      throw this.#reception.interrupted("the stream ended before the answer was done");
    } catch (error) {
      if (this.#left) return;
      this.#failure = { reason: signal.aborted ? signal.reason : error };
      throw this.#failure.reason;
    } finally {
      this.#disconnect();
    }
  }

  async *#bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    const { http, body, timeoutS } = this.#parts;
    const response = await http.send("POST", "/v1/anytime", body, this.#aborter, timeoutS);
    const kind = response.headers.get("Content-Type") ?? "";
    if (!response.body || !kind.startsWith("text/event-stream")) {
      throw this.#reception.interrupted(`${http.url} answered with "${kind}", which is no stream of events`);
    }
    const reader = response.body.getReader();
    const silent = () =>
      this.#aborter.abort(this.#reception.interrupted(`nothing came from ${http.url} for ${http.silenceTimeoutS} s`));
    for (;;) {
      const read = reader.read().catch((error: unknown) => {
        throw this.#reception.interrupted(`the connection to ${http.url} broke`, { cause: error });
      });
      const { done, value } = await within(http.silenceTimeoutS, read, silent);
      if (done) return;
      yield value;
    }
  }

  /** Let the caller's signal and the total time-out abort; until `#disarm`. */
  #arm(): void {
    const { signal, timeoutS } = this.#parts;
    const abort = () => this.#aborter.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    const stop = after(timeoutS, () => this.#aborter.abort(new TimedOut(`not done within ${timeoutS} s`)));
    this.#disarm = () => {
      stop();
      signal?.removeEventListener("abort", abort);
    };
  }

  #disconnect(): void {
    this.#disarm();
    this.#aborter.abort();
  }
}
