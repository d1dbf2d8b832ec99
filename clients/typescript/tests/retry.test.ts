/** Retries and their delays. */

import { expect, test } from "vitest";
import { ClientError, RequestRefused, ServerUnreachable } from "../src/errors.ts";
import { parseRetryAfter, retryDelayS } from "../src/retry.ts";

function refused(status: number, retryAfterS: number | null): RequestRefused {
  return new RequestRefused({ status, retryAfterS, message: "no", code: null, field: null, requestId: null });
}

test.each([
  [0, 0.125, 0.25],
  [1, 0.25, 0.5],
  [2, 0.5, 1],
  [9, 4, 8],
  [5000, 4, 8],
])("delays grow with each attempt: %i", (attempt, min, max) => {
  const errors = [new ServerUnreachable("", { neverConnected: true }), refused(503, null), refused(429, null)];
  for (const delayS of errors.map((error) => retryDelayS(error, attempt))) {
    expect(delayS).toBeGreaterThanOrEqual(min);
    expect(delayS).toBeLessThanOrEqual(max);
  }
});

test("delays are randomized", () => {
  const delays = Array.from({ length: 20 }, () => retryDelayS(refused(503, null), 0));
  expect(new Set(delays).size).toBeGreaterThan(1);
});

test("Retry-After sets the delay, up to a maximum", () => {
  expect(retryDelayS(refused(429, 0), 3)).toBe(0);
  expect(retryDelayS(refused(503, 60), 0)).toBe(60);
  expect(retryDelayS(refused(503, 61), 0)).toBeNull();
});

test.each([
  refused(500, 0),
  refused(404, null),
  new ServerUnreachable("x"),
  new ClientError("x"),
  new Error("x"),
  null,
])("no retry after %o", (error) => expect(retryDelayS(error, 0)).toBeNull());

test("Retry-After is parsed", () => {
  expect(parseRetryAfter(null)).toBeNull();
  expect(parseRetryAfter("12")).toBe(12);
  expect(parseRetryAfter("soon")).toBeNull();
  expect(parseRetryAfter("Wed, 21 Oct 2015 07:28:00 GMT")).toBe(0);
  const inAMinute = parseRetryAfter(new Date(Date.now() + 60_000).toUTCString());
  expect(inAMinute).toBeGreaterThan(50);
  expect(inAMinute).toBeLessThanOrEqual(60);
});
