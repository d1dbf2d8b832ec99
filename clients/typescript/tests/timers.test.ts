/** Timers and time-outs, with a fake clock. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { sleep, startTimer, withTimeout } from "../src/timers.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

test("a timer runs its action once", () => {
  const action = vi.fn();
  startTimer(2, action);
  vi.advanceTimersByTime(1999);
  expect(action).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(action).toHaveBeenCalledOnce();
});

test("a stopped timer does not run its action", () => startTimer(2, () => expect.unreachable())());

test("an infinite timer never runs its action", () => {
  startTimer(Infinity, () => expect.unreachable());
  expect(vi.getTimerCount()).toBe(0);
});

test("a timer longer than the maximum of setTimeout does not fire at once", () => {
  const stop = startTimer(1e9, () => expect.unreachable());
  vi.advanceTimersByTime(1000);
  stop();
});

test("a promise that settles in time does not time out", async () => {
  expect(await withTimeout(Promise.resolve(7), 1, () => expect.unreachable())).toBe(7);
  await expect(withTimeout(Promise.reject(new Error("no")), 1, () => expect.unreachable())).rejects.toThrow("no");
});

test("a promise that takes longer times out", async () => {
  let settle = () => {};
  const promise = new Promise<never>((_, reject) => {
    settle = () => reject(new Error("late"));
  });
  const waiting = expect(withTimeout(promise, 1, () => settle())).rejects.toThrow("late");
  vi.advanceTimersByTime(1000);
  await waiting;
});

test("sleep ends in time and removes its listener", async () => {
  const { signal } = new AbortController();
  const remove = vi.spyOn(signal, "removeEventListener");
  const sleeping = sleep(3, signal);
  vi.advanceTimersByTime(3000);
  await sleeping;
  expect(remove).toHaveBeenCalledOnce();
});

test("an aborted signal ends sleep, before or during it", async () => {
  const aborter = new AbortController();
  const sleeping = expect(sleep(3, aborter.signal)).rejects.toThrow("enough");
  aborter.abort(new Error("enough"));
  await sleeping;
  await expect(sleep(3, aborter.signal)).rejects.toThrow("enough");
});
