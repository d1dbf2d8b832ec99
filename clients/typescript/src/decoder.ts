/** Server-sent events from bytes (WHATWG HTML, section 9.2.6). Does no IO, and knows nothing of what events mean. */

/** One event, as the format carries it. */
export interface Message {
  /** Its type; `message` where none is given. */
  event: string;
  data: string;
}

/** An incremental decoder: bytes in, as they come; events out, once they are whole. */
export class Decoder {
  readonly #utf8 = new TextDecoder();
  #endedInCR = false;
  #line = "";
  #event = "";
  #data: string[] = [];

  /** The events that these bytes complete. An event without the blank line at its end never comes out. */
  decode(bytes: Uint8Array): Message[] {
    let text = this.#utf8.decode(bytes, { stream: true });
    if (text === "") return [];
    // A CR ends its line at once; a LF that follows in the next piece belongs to it.
    if (this.#endedInCR && text.startsWith("\n")) text = text.slice(1);
    this.#endedInCR = text.endsWith("\r");
    const pieces = text.split(/\r\n|\n|\r/);
    const rest = pieces.pop() ?? "";
    const messages: Message[] = [];
    for (const piece of pieces) {
      const message = this.#take(this.#line + piece);
      this.#line = "";
      if (message) messages.push(message);
    }
    this.#line += rest;
    return messages;
  }

  #take(line: string): Message | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    return null;
  }

  #dispatch(): Message | null {
    const message = this.#data.length > 0 && { event: this.#event || "message", data: this.#data.join("\n") };
    this.#event = "";
    this.#data = [];
    return message || null;
  }
}
