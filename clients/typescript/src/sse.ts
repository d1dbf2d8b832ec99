/** An incremental decoder of server-sent events (WHATWG HTML, section 9.2.6). Knows nothing about their content. */

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

  /** The events that the chunk completes. */
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
    return events;
  }

  #processLine(line: string): ServerSentEvent | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    return null;
  }

  #dispatch(): ServerSentEvent | null {
    const event = this.#data.length > 0 && { event: this.#event || "message", data: this.#data.join("\n") };
    this.#event = "";
    this.#data = [];
    return event || null;
  }
}
