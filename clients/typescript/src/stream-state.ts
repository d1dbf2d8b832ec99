/** Parses the bytes of a session's stream into events and accumulates their result. Does no IO. */

import { errorDetail, SessionFailed, StreamInterrupted } from "./errors.ts";
import type { AnswerDone, Done, Event, KnownEvent, Result, Started } from "./events.ts";
import { Decoder, type ServerSentEvent } from "./sse.ts";

/** The fields that every event must have, and their types. */
const REQUIRED_FIELDS: Record<KnownEvent["type"], Record<string, "string" | "number" | "boolean" | "object">> = {
  started: { id: "string", model: "string", budget: "object", prompt_tokens: "number" },
  thinking: { text: "string", total_tokens: "number" },
  "answer.started": { index: "number", at_tokens: "number", provisional: "boolean" },
  "answer.delta": { index: "number", text: "string" },
  "answer.done": {
    index: "number",
    at_tokens: "number",
    provisional: "boolean",
    text: "string",
    answer_tokens: "number",
    confidence: "number",
    finish_reason: "string",
  },
  done: { id: "string", stop: "object", answer: "string", usage: "object", timing: "object" },
};

/** Parses one stream and holds the part received so far. */
export class StreamState {
  started: Started | null = null;
  thinking = "";
  /** In the order received. */
  readonly answers: AnswerDone[] = [];
  /** Null until the session has ended successfully. */
  result: Result | null = null;

  readonly #decoder = new Decoder();

  /**
   * The events that the chunk completes, up to `done`. Each is recorded before it is yielded.
   *
   * @throws SessionFailed at an `error` event, StreamInterrupted at anything that is not an event of a session.
   */
  *feed(chunk: Uint8Array): Generator<Event, void, undefined> {
    for (const sseEvent of this.#decode(chunk)) {
      const event = this.#parse(sseEvent);
      this.#record(event);
      yield event;
      if (event.type === "done") return;
    }
  }

  /** The error to throw for a stream without a terminal event; it carries what has been received. */
  interrupted(message: string, options?: ErrorOptions): StreamInterrupted {
    const { started, thinking, answers } = this;
    return new StreamInterrupted(message, { id: started?.id ?? null, thinking, answers }, options);
  }

  #decode(chunk: Uint8Array): ServerSentEvent[] {
    try {
      return this.#decoder.decode(chunk);
    } catch (error) {
      throw this.interrupted(`the server sent ${(error as RangeError).message}`, { cause: error });
    }
  }

  #parse({ data }: ServerSentEvent): Event {
    const raw = this.#parseObject(data);
    if (raw.type === "error") {
      const detail = errorDetail(raw);
      if (detail) throw new SessionFailed(detail);
    } else if (!Object.hasOwn(REQUIRED_FIELDS, raw.type)) {
      return { type: "unknown", raw };
    } else if (hasFields(raw, REQUIRED_FIELDS[raw.type as KnownEvent["type"]])) {
      return raw as unknown as KnownEvent;
    }
    throw this.#invalidEvent(data);
  }

  #parseObject(data: string): { type: string; [field: string]: unknown } {
    let value: unknown;
    try {
      value = JSON.parse(data);
    } catch (error) {
      throw this.#invalidEvent(data, { cause: error });
    }
    const object = Object(value);
    if (typeof object.type !== "string") throw this.#invalidEvent(data);
    return object;
  }

  #invalidEvent(data: string, options?: ErrorOptions): StreamInterrupted {
    return this.interrupted(`the server sent an invalid event: ${JSON.stringify(data.slice(0, 200))}`, options);
  }

  #record(event: Event): void {
    if (event.type === "started") this.started = event;
    else if (event.type === "thinking") this.thinking += event.text;
    else if (event.type === "answer.done") this.answers.push(event);
    else if (event.type === "done") this.result = this.#result(event);
  }

  #result(done: Done): Result {
    if (!this.started) throw this.interrupted("the server sent `done` before `started`");
    const { type: _, ...outcome } = done;
    const answers = this.answers.map(({ type: _, ...answer }) => answer);
    answers.sort((a, b) => Number(b.provisional) - Number(a.provisional) || a.at_tokens - b.at_tokens);
    return { ...outcome, model: this.started.model, thinking: this.thinking, answers };
  }
}

function hasFields(raw: Readonly<Record<string, unknown>>, fields: Readonly<Record<string, string>>): boolean {
  return Object.entries(fields).every(([name, type]) => {
    const value = raw[name];
    return typeof value === type && value !== null;
  });
}
