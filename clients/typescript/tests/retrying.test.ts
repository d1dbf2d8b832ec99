/** When to try again. */

import { expect, test } from "vitest";
import { ClientError, RequestRefused, ServerUnreachable } from "../src/errors.ts";
import { parseRetryAfter, retryWaitS } from "../src/retrying.ts";

function refused(status: number, retryAfterS: number | null): RequestRefused {
  return new RequestRefused({ status, retryAfterS, message: "no", code: null, field: null, requestId: null });
}

test.each([
  [0, 0.125, 0.25],
  [1, 0.25, 0.5],
  [2, 0.5, 1],
  [9, 4, 8],
  [5000, 4, 8],
])("waits longer with each try: %i", (attempt, least, most) => {
  const errors = [new ServerUnreachable("", { neverConnected: true }), refused(503, null), refused(429, null)];
  for (const waitS of errors.map((error) => retryWaitS(error, attempt))) {
    expect(waitS).toBeGreaterThanOrEqual(least);
    expect(waitS).toBeLessThanOrEqual(most);
  }
});

test("clients do not come back together", () => {
  const waits = Array.from({ length: 20 }, () => retryWaitS(refused(503, null), 0));
  expect(new Set(waits).size).toBeGreaterThan(1);
});

test("waits as long as the server says, up to a bound", () => {
  expect(retryWaitS(refused(429, 0), 3)).toBe(0);
  expect(retryWaitS(refused(503, 60), 0)).toBe(60);
  expect(retryWaitS(refused(503, 61), 0)).toBeNull();
});

test.each([
  refused(500, 0),
  refused(404, null),
  new ServerUnreachable("x"),
  new ClientError("x"),
  new Error("x"),
  null,
])("never after %o", (error) => expect(retryWaitS(error, 0)).toBeNull());

test("reads Retry-After", () => {
  expect(parseRetryAfter(null)).toBeNull();
  expect(parseRetryAfter("12")).toBe(12);
  expect(parseRetryAfter("soon")).toBeNull();
  expect(parseRetryAfter("Wed, 21 Oct 2015 07:28:00 GMT")).toBe(0);
  const inAMinute = parseRetryAfter(new Date(Date.now() + 60_000).toUTCString());
  expect(inAMinute).toBeGreaterThan(50);
  expect(inAMinute).toBeLessThanOrEqual(60);
});
