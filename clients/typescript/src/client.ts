/** The entrance: a server, what it serves, and what can be asked of it. */

import { ClientError, RequestRefused } from "./errors.ts";
import { Http } from "./http.ts";
import type { ModelCard } from "./models.ts";
import { type Message, requestBody, type ThinkOptions } from "./options.ts";
import { type Controls, Stream } from "./stream.ts";

/** How a client talks to its server. */
export interface ClientOptions {
  /** Sent as `Authorization: Bearer ...`. */
  apiKey?: string | undefined;
  /** Sent with every request; an `Authorization` among them is sent rather than `apiKey`. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Without a byte for so long, the server is gone: it sends a comment every few seconds. Default: 60. */
  silenceTimeoutS?: number | undefined;
  /** From the sending of a request to `done`, its retries included. Default: none. */
  timeoutS?: number | undefined;
  /** Tries again where nothing can have been sampled: no connection, or 429 or 503. Default: 2. */
  maxRetries?: number | undefined;
  /** Instead of the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
}

/**
 * Talks to one server.
 *
 * @example
 * ```ts
 * const client = new Client("http://127.0.0.1:8000");
 * const stream = client.think("What is 7 minus 3 times 2?", { budget: 64, budgets: [8, 16] });
 * for await (const event of stream) {
 *   if (event.type === "answer.done") console.log(event.at_tokens, event.text, event.confidence);
 * }
 * ```
 */
export class Client implements Controls {
  readonly #http: Http;
  readonly #timeoutS: number;

  /**
   * @param url of the server; a `/` or `/v1` at its end may be there.
   * @throws ServerUnreachable if `url` is none.
   */
  constructor(url: string | URL = "http://127.0.0.1:8000", options: ClientOptions = {}) {
    const { apiKey, headers, silenceTimeoutS = 60, timeoutS = Infinity, maxRetries = 2, fetch } = options;
    this.#timeoutS = timeoutS;
    this.#http = new Http({
      url,
      headers: allHeaders(apiKey, headers),
      fetch: fetch ?? ((input, init) => globalThis.fetch(input, init)),
      silenceTimeoutS,
      maxRetries,
    });
  }

  /**
   * Ask. Nothing is sent before the stream is read.
   *
   * @param messages the conversation, or the text of one user's message.
   */
  think(messages: string | readonly Message[], options: ThinkOptions = {}): Stream {
    const { signal, timeoutS = this.#timeoutS, ...fields } = options;
    return new Stream({
      http: this.#http,
      controls: this,
      body: requestBody(messages, fields),
      signal,
      timeoutS,
    });
  }

  /** Let a session answer now; false if it was answering already, or is not under way. */
  async answerNow(id: string): Promise<boolean> {
    return unless([404, 409], this.#http.json("POST", `${sessionPath(id)}/answer`));
  }

  /** Let a session think for so many tokens more; gives its new budget in tokens. */
  async extend(id: string, tokens: number): Promise<number> {
    const { budget_tokens } = Object(await this.#http.json("POST", `${sessionPath(id)}/extend`, { tokens }));
    if (typeof budget_tokens !== "number") throw new ClientError("the server did not tell the new budget");
    return budget_tokens;
  }

  /** Cancel a session, if it is under way. */
  async cancel(id: string): Promise<void> {
    await unless([404], this.#http.json("DELETE", sessionPath(id)));
  }

  /** The models that are served. */
  async models(): Promise<ModelCard[]> {
    const { data } = Object(await this.#http.json("GET", "/v1/models"));
    if (!Array.isArray(data)) throw new ClientError("the server did not tell its models");
    return data;
  }
}

/** Names of headers are the same in any case. */
function allHeaders(apiKey: string | undefined, given: Readonly<Record<string, string>> = {}): Headers {
  const headers = new Headers(given);
  if (apiKey !== undefined && !headers.has("Authorization")) headers.set("Authorization", `Bearer ${apiKey}`);
  return headers;
}

function sessionPath(id: string): string {
  return `/v1/anytime/${encodeURIComponent(id)}`;
}

/** Whether a request was taken; false if it was refused with one of these. */
async function unless(statuses: readonly number[], request: Promise<unknown>): Promise<boolean> {
  try {
    await request;
    return true;
  } catch (error) {
    if (error instanceof RequestRefused && statuses.includes(error.status)) return false;
    throw error;
  }
}
