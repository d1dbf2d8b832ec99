/** The rules of retries. Only requests that cannot have sampled anything are sent again. */

import { RequestRefused, ServerUnreachable } from "./errors.ts";

const RETRIED_STATUSES: readonly number[] = [429, 503];
const INITIAL_BACKOFF_S = 0.25;
const MAX_BACKOFF_S = 8;
/** A request with a longer `Retry-After` is not sent again. */
const MAX_RETRY_AFTER_S = 60;

/** Seconds until the next attempt, after `attempt` retries (0, 1, ...) that failed; null for no further attempt. */
export function retryDelayS(error: unknown, attempt: number): number | null {
  if (error instanceof ServerUnreachable && error.neverConnected) return backoffS(attempt);
  if (!(error instanceof RequestRefused && RETRIED_STATUSES.includes(error.status))) return null;
  if (error.retryAfterS === null) return backoffS(attempt);
  return error.retryAfterS <= MAX_RETRY_AFTER_S ? error.retryAfterS : null;
}

/** Exponential back-off. Jitter keeps clients that were refused together from returning together. */
function backoffS(attempt: number): number {
  return Math.min(INITIAL_BACKOFF_S * 2 ** attempt, MAX_BACKOFF_S) * (0.5 + Math.random() / 2);
}

/** Seconds of a `Retry-After` header, which is a number or a date; null if it is neither. */
export function parseRetryAfter(header: string | null): number | null {
  if (header === null) return null;
  if (/^\d+$/.test(header)) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, (date - Date.now()) / 1000);
}
