/** From the bytes of a stream to typed events, and what has come so far. Does no IO. */

import { Decoder, type Message } from "./decoder.ts";
import { errorDetail, SessionFailed, StreamInterrupted } from "./errors.ts";
import type { AnswerDone, Done, Event, KnownEvent, Result, Started } from "./events.ts";

/** What is checked of events: the fields that everyone relies on. */
const FIELDS: Record<KnownEvent["type"], Record<string, "string" | "number" | "boolean" | "object">> = {
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

/** What has come of a session. */
export class Reception {
  started: Started | null = null;
  thinking = "";
  /** In the order of coming. */
  readonly answers: AnswerDone[] = [];
  /** There once the session has ended well. */
  result: Result | null = null;

  readonly #decoder = new Decoder();

  /**
   * The events that these bytes complete, none after `done`.
   *
   * @throws SessionFailed at an `error` event, StreamInterrupted at what is no event.
   */
  *receive(bytes: Uint8Array): Generator<Event, void, undefined> {
    for (const message of this.#decoder.decode(bytes)) {
      const event = this.#event(message);
      this.#note(event);
      yield event;
      if (event.type === "done") return;
    }
  }

  /** An error that carries what has come. */
  interrupted(message: string, options?: ErrorOptions): StreamInterrupted {
    const { started, thinking, answers } = this;
    return new StreamInterrupted(message, { id: started?.id ?? null, thinking, answers }, options);
  }

  #event({ data }: Message): Event {
    const raw = this.#object(data);
    if (raw.type === "error") {
      const detail = errorDetail(raw);
      if (detail) throw new SessionFailed(detail);
    } else if (!Object.hasOwn(FIELDS, raw.type)) {
      return { type: "unknown", raw };
    } else if (hasFields(raw, FIELDS[raw.type as KnownEvent["type"]])) {
      return raw as unknown as KnownEvent;
    }
    throw this.#noEvent(data);
  }

  #object(data: string): { type: string; [field: string]: unknown } {
    let value: unknown;
    try {
      value = JSON.parse(data);
    } catch (error) {
      throw this.#noEvent(data, { cause: error });
    }
    const object = Object(value);
    if (typeof object.type !== "string") throw this.#noEvent(data);
    return object;
  }

  #noEvent(data: string, options?: ErrorOptions): StreamInterrupted {
    return this.interrupted(`the server sent what is no event: ${JSON.stringify(data.slice(0, 200))}`, options);
  }

  #note(event: Event): void {
    if (event.type === "started") this.started = event;
    else if (event.type === "thinking") this.thinking += event.text;
    else if (event.type === "answer.done") this.answers.push(event);
    else if (event.type === "done") this.result = this.#result(event);
  }

  #result(done: Done): Result {
    if (!this.started) throw this.interrupted("the server said that a session was done which had not started");
    const { type: _, ...outcome } = done;
    const answers = this.answers.map(({ type: _, ...answer }) => answer);
    answers.sort((a, b) => Number(b.provisional) - Number(a.provisional) || a.at_tokens - b.at_tokens);
    return { ...outcome, model: this.started.model, thinking: this.thinking, answers };
  }
}

function hasFields(raw: Readonly<Record<string, unknown>>, fields: Readonly<Record<string, string>>): boolean {
  return Object.entries(fields).every(([name, kind]) => {
    const value = raw[name];
    return typeof value === kind && value !== null;
  });
}
