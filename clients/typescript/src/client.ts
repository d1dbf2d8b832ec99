/** The client: starts sessions, controls them by id, and lists the models. */

import { ClientError, RequestRefused } from "./errors.ts";
import { Http } from "./http.ts";
import type { ModelCard } from "./models.ts";
import { type Message, requestBody, type ThinkOptions } from "./options.ts";
import { type Controls, Stream } from "./stream.ts";

/** Settings of a client. */
export interface ClientOptions {
  /** Sent as `Authorization: Bearer ...`. */
  apiKey?: string | undefined;
  /** Sent with every request; an `Authorization` header overrides `apiKey`. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Maximum seconds without receiving a byte; the server sends a comment every few seconds. Default: 60. */
  silenceTimeoutS?: number | undefined;
  /** Maximum seconds of a whole session, retries included. Default: none. */
  timeoutS?: number | undefined;
  /** Maximum number of retries, made only if nothing can have been sampled: no connection, 429 or 503. Default: 2. */
  maxRetries?: number | undefined;
  /** Replaces the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
}

/**
 * A client of one server.
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
   * @param url address of the server; may end in `/v1`, as for OpenAI's SDKs.
   * @throws ServerUnreachable if `url` is not a valid address.
   */
  constructor(url: string | URL = "http://127.0.0.1:8000", options: ClientOptions = {}) {
    const { apiKey, headers, silenceTimeoutS = 60, timeoutS = Infinity, maxRetries = 2, fetch } = options;
    this.#timeoutS = timeoutS;
    this.#http = new Http({
      url,
      headers: buildHeaders(apiKey, headers),
      fetch: fetch ?? ((input, init) => globalThis.fetch(input, init)),
      silenceTimeoutS,
      maxRetries,
    });
  }

  /**
   * Start a session. The request is sent when the stream is first read.
   *
   * @param messages the text of a user message, or a conversation.
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

  /** Stop the thinking of a session; false if the session is answering already or has ended. */
  async answerNow(id: string): Promise<boolean> {
    return succeedsUnless([404, 409], this.#http.json("POST", `${sessionPath(id)}/answer`));
  }

  /** Raise the budget of a session by `tokens`; returns the new budget. */
  async extend(id: string, tokens: number): Promise<number> {
    const { budget_tokens } = Object(await this.#http.json("POST", `${sessionPath(id)}/extend`, { tokens }));
    if (typeof budget_tokens !== "number") throw new ClientError("the server did not return the new budget");
    return budget_tokens;
  }

  /** Cancel a session; no error if it has ended already. */
  async cancel(id: string): Promise<void> {
    await succeedsUnless([404], this.#http.json("DELETE", sessionPath(id)));
  }

  /** The models that the server serves. */
  async models(): Promise<ModelCard[]> {
    const { data } = Object(await this.#http.json("GET", "/v1/models"));
    if (!Array.isArray(data)) throw new ClientError("the server did not return its models");
    return data;
  }
}

function buildHeaders(apiKey: string | undefined, extra: Readonly<Record<string, string>> = {}): Headers {
  const headers = new Headers(extra);
  if (apiKey !== undefined && !headers.has("Authorization")) headers.set("Authorization", `Bearer ${apiKey}`);
  return headers;
}

function sessionPath(id: string): string {
  return `/v1/anytime/${encodeURIComponent(id)}`;
}

/** True if the request succeeds, false if it is refused with one of the statuses. */
async function succeedsUnless(statuses: readonly number[], request: Promise<unknown>): Promise<boolean> {
  try {
    await request;
    return true;
  } catch (error) {
    if (error instanceof RequestRefused && statuses.includes(error.status)) return false;
    throw error;
  }
}
