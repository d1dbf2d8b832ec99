/** HTTP requests to one server: headers, time-outs, retries, and the translation of errors of `fetch` into ours. */

import { ClientError, errorDetail, RequestRefused, ServerUnreachable, StreamInterrupted } from "./errors.ts";
import { parseRetryAfter, retryDelayS } from "./retry.ts";
import { sleep, withTimeout } from "./timers.ts";

/** Error codes of `fetch` in Node if no connection was made. Browsers report no code. */
const NEVER_CONNECTED: readonly unknown[] = [
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
];

/** The rest of a longer body, other than a stream's, is not read. */
const MAX_BODY_BYTES = 2 ** 24;

/** Settings of the requests. */
export interface HttpSettings {
  url: string | URL;
  headers: Headers;
  fetch: typeof globalThis.fetch;
  silenceTimeoutS: number;
  maxRetries: number;
}

/** Sends requests to one server. */
export class Http {
  /** Address of the server, without a slash at the end. */
  readonly url: string;
  readonly silenceTimeoutS: number;
  readonly #headers: Headers;
  readonly #fetch: typeof globalThis.fetch;
  readonly #maxRetries: number;

  constructor({ url, headers, fetch, silenceTimeoutS, maxRetries }: HttpSettings) {
    this.url = baseUrl(url);
    this.silenceTimeoutS = silenceTimeoutS;
    this.#headers = headers;
    this.#fetch = fetch;
    this.#maxRetries = maxRetries;
  }

  /**
   * Send a request, with retries. Returns the successful response, its body unread.
   *
   * @param aborter aborts the request and the reading of its body, which then throw its reason.
   * @param timeoutS after which the caller aborts; a retry that would start later is not made.
   */
  async send(
    method: string,
    path: string,
    body: object | null,
    aborter: AbortController,
    timeoutS: number = Infinity,
  ): Promise<Response> {
    const endMs = performance.now() + timeoutS * 1000;
    for (let attempt = 0; ; attempt++) {
      try {
        return await withTimeout(this.#attempt(method, path, body, aborter.signal), this.silenceTimeoutS, () =>
          aborter.abort(new StreamInterrupted(`no response from ${this.url} within ${this.silenceTimeoutS} s`)),
        );
      } catch (error) {
        const delayS = attempt < this.#maxRetries ? retryDelayS(error, attempt) : null;
        if (delayS === null || performance.now() + delayS * 1000 >= endMs) throw error;
        await sleep(delayS, aborter.signal);
      }
    }
  }

  /** Send a request and parse its JSON response; undefined if the body is empty. */
  async json(method: string, path: string, body: object | null = null): Promise<unknown> {
    const aborter = new AbortController();
    const response = await this.send(method, path, body, aborter);
    const onError = (error: unknown) => {
      aborter.signal.throwIfAborted();
      throw brokenConnection(this.url, error);
    };
    const text = await withTimeout(readText(response).catch(onError), this.silenceTimeoutS, () =>
      aborter.abort(new StreamInterrupted(`${this.url} stopped in the middle of its response`)),
    );
    if (text === "") return undefined;
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new ClientError(`${this.url} answered ${method} ${path} with invalid JSON`, { cause: error });
    }
  }

  async #attempt(method: string, path: string, body: object | null, signal: AbortSignal): Promise<Response> {
    signal.throwIfAborted();
    const fetch = this.#fetch; // called as a function: browsers throw if it is called as a method
    const headers = new Headers(this.#headers);
    if (body !== null) headers.set("Content-Type", "application/json");
    let response: Response;
    try {
      response = await fetch(this.url + path, {
        method,
        headers,
        body: body === null ? null : JSON.stringify(body),
        redirect: "manual", // another address must get neither the prompt nor the headers, with their keys
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      throw fetchError(this.url, error);
    }
    if (!response.ok) throw await requestRefused(response);
    return response;
  }
}

function baseUrl(url: string | URL): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (error) {
    throw new ServerUnreachable(`"${url}" is not a valid address`, { cause: error, neverConnected: true });
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    const message = `"${url}" is not a valid address: it must begin with http:// or https://`;
    throw new ServerUnreachable(message, { neverConnected: true });
  }
  return parsed.origin + parsed.pathname.replace(/\/+$/, "").replace(/\/v1$/, "");
}

function brokenConnection(url: string, error: unknown): StreamInterrupted {
  return new StreamInterrupted(`the connection to ${url} broke`, undefined, { cause: error });
}

/** The error for a request for which `fetch` threw. */
function fetchError(url: string, error: unknown): ServerUnreachable | StreamInterrupted {
  const { cause } = Object(error) as { cause?: unknown };
  const { code } = Object(cause) as { code?: unknown };
  const neverConnected = NEVER_CONNECTED.includes(code);
  if (code !== undefined && !neverConnected) return brokenConnection(url, error);
  return new ServerUnreachable(`no server answers at ${url}`, { cause: error, neverConnected });
}

async function requestRefused(response: Response): Promise<RequestRefused> {
  const text = await readText(response).catch(() => "");
  return new RequestRefused({
    ...(errorDetail(parseJson(text)) ?? { code: null, message: `HTTP ${response.status}`, field: null }),
    status: response.status,
    requestId: response.headers.get("X-Request-Id"),
    retryAfterS: parseRetryAfter(response.headers.get("Retry-After")),
  });
}

/** The body, or the beginning of a body that is longer than `MAX_BODY_BYTES`. */
async function readText(response: Response): Promise<string> {
  const utf8 = new TextDecoder();
  let text = "";
  let numBytes = 0;
  const reader = response.body?.getReader();
  while (reader && numBytes < MAX_BODY_BYTES) {
    const { done, value } = await reader.read();
    if (done) return text + utf8.decode();
    text += utf8.decode(value, { stream: true });
    numBytes += value.length;
  }
  await reader?.cancel();
  return text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
