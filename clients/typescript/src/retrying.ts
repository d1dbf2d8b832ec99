/** What is tried again, and when: only where nothing can have been sampled. */

import { RequestRefused, ServerUnreachable } from "./errors.ts";

const RETRIED_STATUSES: readonly number[] = [429, 503];
const FIRST_WAIT_S = 0.25;
const LONGEST_BACK_OFF_S = 8;
/** A server that asks to wait longer than this is not asked again. */
const LONGEST_RETRY_AFTER_S = 60;

/** Seconds until the next try, after `attempt` earlier ones (0, 1, ...) that failed; null for none. */
export function retryWaitS(error: unknown, attempt: number): number | null {
  if (error instanceof ServerUnreachable && error.neverConnected) return backOffS(attempt);
  if (!(error instanceof RequestRefused && RETRIED_STATUSES.includes(error.status))) return null;
  if (error.retryAfterS === null) return backOffS(attempt);
  return error.retryAfterS <= LONGEST_RETRY_AFTER_S ? error.retryAfterS : null;
}

/** Twice as long each time; at random between half of that and all, so that clients do not come back together. */
function backOffS(attempt: number): number {
  return Math.min(FIRST_WAIT_S * 2 ** attempt, LONGEST_BACK_OFF_S) * (0.5 + Math.random() / 2);
}

/** Seconds that a `Retry-After` header says, as a number or a date; null if it says neither. */
export function parseRetryAfter(header: string | null): number | null {
  if (header === null) return null;
  if (/^\d+$/.test(header)) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, (date - Date.now()) / 1000);
}
