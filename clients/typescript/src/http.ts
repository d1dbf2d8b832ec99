/** Requests to one server: address, headers, silence, retries. The one place where fetch's failures become errors of ours. */

import { sleep, within } from "./clock.ts";
import { ClientError, errorDetail, RequestRefused, ServerUnreachable, StreamInterrupted } from "./errors.ts";
import { parseRetryAfter, retryWaitS } from "./retrying.ts";

/** Failures of Node's fetch before there was a connection. A browser does not tell. */
const NEVER_CONNECTED: readonly unknown[] = [
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
];

/** How requests are made. */
export interface HttpSettings {
  url: string | URL;
  headers: Headers;
  fetch: typeof globalThis.fetch;
  silenceTimeoutS: number;
  maxRetries: number;
}

/** Requests to one server. */
export class Http {
  /** Of the server, without a slash at its end. */
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
   * A successful response, whose body is still to be read.
   *
   * @param aborter aborts the request and the reading of its body; its reason is what is thrown then.
   * @param timeoutS after which the caller aborts; a try that would come later is not waited for.
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
        return await within(this.silenceTimeoutS, this.#attempt(method, path, body, aborter.signal), () =>
          aborter.abort(new StreamInterrupted(`no answer from ${this.url} within ${this.silenceTimeoutS} s`)),
        );
      } catch (error) {
        const waitS = attempt < this.#maxRetries ? retryWaitS(error, attempt) : null;
        if (waitS === null || performance.now() + waitS * 1000 >= endMs) throw error;
        await sleep(waitS, aborter.signal);
      }
    }
  }

  /** The JSON of a response, undefined if it has no body. */
  async json(method: string, path: string, body: object | null = null): Promise<unknown> {
    const aborter = new AbortController();
    const response = await this.send(method, path, body, aborter);
    const broke = (error: unknown) => {
      aborter.signal.throwIfAborted();
      throw broken(this.url, error);
    };
    const text = await within(this.silenceTimeoutS, response.text().catch(broke), () =>
      aborter.abort(new StreamInterrupted(`${this.url} stopped in the middle of its answer`)),
    );
    if (text === "") return undefined;
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new ClientError(`${this.url} answered ${method} ${path} with what is not JSON`, { cause: error });
    }
  }

  async #attempt(method: string, path: string, body: object | null, signal: AbortSignal): Promise<Response> {
    signal.throwIfAborted();
    const fetch = this.#fetch; // called as a function: browsers refuse it as a method of anything
    const headers = new Headers(this.#headers);
    if (body !== null) headers.set("Content-Type", "application/json");
    let response: Response;
    try {
      response = await fetch(this.url + path, {
        method,
        headers,
        body: body === null ? null : JSON.stringify(body),
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      throw failure(this.url, error);
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

function baseUrl(url: string | URL): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (error) {
    throw new ServerUnreachable(`"${url}" is no address`, { cause: error, neverConnected: true });
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    const message = `"${url}" is no address: it must begin with http:// or https://`;
    throw new ServerUnreachable(message, { neverConnected: true });
  }
  return parsed.origin + parsed.pathname.replace(/\/+$/, "").replace(/\/v1$/, "");
}

/** A body that did not come to its end. */
function broken(url: string, error: unknown): StreamInterrupted {
  return new StreamInterrupted(`the connection to ${url} broke`, undefined, { cause: error });
}

/** Of fetch, which had no response to give. */
function failure(url: string, error: unknown): ServerUnreachable | StreamInterrupted {
  const { cause } = Object(error) as { cause?: unknown };
  const { code } = Object(cause) as { code?: unknown };
  const neverConnected = NEVER_CONNECTED.includes(code);
  if (code !== undefined && !neverConnected) return broken(url, error);
  return new ServerUnreachable(`no server answers at ${url}`, { cause: error, neverConnected });
}

async function refusal(response: Response): Promise<RequestRefused> {
  const text = await response.text().catch(() => "");
  return new RequestRefused({
    ...(errorDetail(parsed(text)) ?? { code: null, message: `HTTP ${response.status}`, field: null }),
    status: response.status,
    requestId: response.headers.get("X-Request-Id"),
    retryAfterS: parseRetryAfter(response.headers.get("Retry-After")),
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
