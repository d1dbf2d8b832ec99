/**
 * What can go wrong when talking to a server.
 *
 *     ClientError
 *     ├── ServerUnreachable   nobody answers there
 *     ├── RequestRefused      the server said no, and why
 *     ├── SessionFailed       the stream ended with an error event
 *     ├── StreamInterrupted   the connection broke, or the stream ended with neither `done` nor `error`
 *     └── TimedOut            the caller's own total time-out
 */

import type { AnswerDone } from "./events.ts";

/** Root of the tree. */
export class ClientError extends Error {
  override name = "ClientError";
}

/** Nobody answers there; in a browser, which does not tell, also a connection that broke before an answer. */
export class ServerUnreachable extends ClientError {
  override name = "ServerUnreachable";
  /** The request cannot have been sent: no connection was made. */
  readonly neverConnected: boolean;

  constructor(message: string, options: ErrorOptions & { neverConnected?: boolean } = {}) {
    super(message, options);
    this.neverConnected = options.neverConnected ?? false;
  }
}

/** What a server tells of an error. */
export interface ErrorDetail {
  /** Stable, for programs; null where the answer was not the server's own. */
  code: string | null;
  /** For people. */
  message: string;
  /** The request field at fault. */
  field: string | null;
}

/** What the response of a refusal tells beside its body. */
export interface Refusal extends ErrorDetail {
  /** Of the HTTP response. */
  status: number;
  /** `X-Request-Id` of the response, where it has one. */
  requestId: string | null;
  /** Seconds until it is worth to try again, where the server says. */
  retryAfterS: number | null;
}

/**
 * An HTTP error: the server said no, and why. With a status of 4XX or 503 nothing was sampled; a 500, or a
 * proxy's 502 or 504, does not tell.
 */
export class RequestRefused extends ClientError {
  override name = "RequestRefused";
  readonly status: number;
  readonly code: string | null;
  readonly field: string | null;
  readonly requestId: string | null;
  readonly retryAfterS: number | null;

  constructor({ status, code, message, field, requestId, retryAfterS }: Refusal) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
  }
}

/** The stream ended with an `error` event. */
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

/** What had come of a stream. */
export interface SoFar {
  id: string | null;
  thinking: string;
  answers: readonly AnswerDone[];
}

const NOTHING: SoFar = { id: null, thinking: "", answers: [] };

/** The connection broke, or the stream ended with neither `done` nor `error`. What had come is here. */
export class StreamInterrupted extends ClientError {
  override name = "StreamInterrupted";
  readonly id: string | null;
  readonly thinking: string;
  readonly answers: readonly AnswerDone[];

  constructor(message: string, soFar: SoFar = NOTHING, options?: ErrorOptions) {
    super(message, options);
    this.id = soFar.id;
    this.thinking = soFar.thinking;
    this.answers = [...soFar.answers];
  }
}

/** The caller's own total time-out. */
export class TimedOut extends ClientError {
  override name = "TimedOut";
}

/** The `error` object of a body or an event, as any dialect of the server writes it; null if it has none. */
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
