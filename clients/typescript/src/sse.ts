/** An incremental decoder of server-sent events (WHATWG HTML, section 9.2.6). Knows nothing about their content. */

/** A longer event is refused: its parts are kept in memory until its end. In UTF-16 code units. */
export const MAX_EVENT_LENGTH: number = 2 ** 24;

/** Added to the length of each line of data, so that empty lines are limited as well. */
const LINE_OVERHEAD = 64;

/** One event of the stream. */
export interface ServerSentEvent {
  /** The event's type; `message` by default. */
  event: string;
  data: string;
}

/** Turns chunks of bytes into events, each as soon as it is complete. An incomplete last event is dropped. */
export class Decoder {
  readonly #utf8 = new TextDecoder();
  #endedInCR = false;
  #line = "";
  #event = "";
  #data: string[] = [];
  #dataLength = 0;

  /**
   * The events that the chunk completes.
   *
   * @throws RangeError if the server sends an event without an end.
   */
  decode(chunk: Uint8Array): ServerSentEvent[] {
    let text = this.#utf8.decode(chunk, { stream: true });
    if (text === "") return [];
    // A CR ends its line at once; an LF at the start of the next chunk belongs to it.
    if (this.#endedInCR && text.startsWith("\n")) text = text.slice(1);
    this.#endedInCR = text.endsWith("\r");
    const parts = text.split(/\r\n|\n|\r/);
    const rest = parts.pop() ?? "";
    const events: ServerSentEvent[] = [];
    for (const part of parts) {
      const event = this.#processLine(this.#line + part);
      this.#line = "";
      if (event) events.push(event);
    }
    this.#line += rest;
    if (this.#line.length + this.#dataLength > MAX_EVENT_LENGTH) {
      throw new RangeError(`an event of more than ${MAX_EVENT_LENGTH} characters`);
    }
    return events;
  }

  #processLine(line: string): ServerSentEvent | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event") this.#event = value;
    else if (field === "data") {
      this.#data.push(value);
      this.#dataLength += value.length + LINE_OVERHEAD;
    }
    return null;
  }

  #dispatch(): ServerSentEvent | null {
    const event = this.#data.length > 0 && { event: this.#event || "message", data: this.#data.join("\n") };
    this.#event = "";
    this.#data = [];
    this.#dataLength = 0;
    return event || null;
  }
}
