/**
 * The errors of the client.
 *
 *     ClientError
 *     ├── ServerUnreachable   no connection to the server could be made
 *     ├── RequestRefused      the server answered with an HTTP error
 *     ├── SessionFailed       the stream ended with an `error` event
 *     ├── StreamInterrupted   the connection broke, or the stream ended with neither `done` nor `error`
 *     └── TimedOut            the session took longer than `timeoutS`
 */

import type { AnswerDone } from "./events.ts";

/** Base class of the client's errors. */
export class ClientError extends Error {
  override name = "ClientError";
}

/**
 * No connection to the server could be made. Browsers do not report why a request failed: there, this is also
 * a connection that broke before the response.
 */
export class ServerUnreachable extends ClientError {
  override name = "ServerUnreachable";
  /** No connection was made, so the request cannot have been sent. */
  readonly neverConnected: boolean;

  constructor(message: string, options: ErrorOptions & { neverConnected?: boolean } = {}) {
    super(message, options);
    this.neverConnected = options.neverConnected ?? false;
  }
}

/** The `error` object of a response or an event. */
export interface ErrorDetail {
  /** Stable error code; null if the body is not an error of an Anytime server. */
  code: string | null;
  message: string;
  /** Dotted path of the invalid request field. */
  field: string | null;
}

/** The error of a refused request, and details of its HTTP response. */
export interface RefusalDetail extends ErrorDetail {
  /** HTTP status. */
  status: number;
  /** `X-Request-Id` header of the response. */
  requestId: string | null;
  /** Seconds to wait before the next attempt, from `Retry-After`. */
  retryAfterS: number | null;
}

/**
 * The server answered with an HTTP error. With a status of 4XX or 503 nothing was sampled; with a 500, or a
 * proxy's 502 or 504, that is unknown.
 */
export class RequestRefused extends ClientError {
  override name = "RequestRefused";
  readonly status: number;
  readonly code: string | null;
  readonly field: string | null;
  readonly requestId: string | null;
  readonly retryAfterS: number | null;

  constructor({ status, code, message, field, requestId, retryAfterS }: RefusalDetail) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
  }
}

/** The session ended with an `error` event. */
export class SessionFailed extends ClientError {
  override name = "SessionFailed";
  readonly code: string | null;
  readonly field: string | null;

  constructor({ code, message, field }: ErrorDetail) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

/** The part of an interrupted session that was received. */
export interface PartialSession {
  id: string | null;
  thinking: string;
  answers: readonly AnswerDone[];
}

const NOTHING: PartialSession = { id: null, thinking: "", answers: [] };

/** The connection broke, or the stream ended with neither `done` nor `error`. Carries what was received. */
export class StreamInterrupted extends ClientError {
  override name = "StreamInterrupted";
  readonly id: string | null;
  readonly thinking: string;
  readonly answers: readonly AnswerDone[];

  constructor(message: string, received: PartialSession = NOTHING, options?: ErrorOptions) {
    super(message, options);
    this.id = received.id;
    this.thinking = received.thinking;
    this.answers = [...received.answers];
  }
}

/** The session took longer than the caller's `timeoutS`. */
export class TimedOut extends ClientError {
  override name = "TimedOut";
}

/** The `error` object of a response body or an event; null if there is none. */
export function errorDetail(body: unknown): ErrorDetail | null {
  const { error } = Object(body) as { error?: unknown };
  const { code, message, field } = Object(error) as { code?: unknown; message?: unknown; field?: unknown };
  if (typeof message !== "string") return null;
  return {
    code: typeof code === "string" ? code : null,
    message,
    field: typeof field === "string" ? field : null,
  };
}
