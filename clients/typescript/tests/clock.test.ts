/** Time-outs and waits, on a clock that the test turns. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { after, sleep, within } from "../src/clock.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

test("something is done later, once", () => {
  const action = vi.fn();
  after(2, action);
  vi.advanceTimersByTime(1999);
  expect(action).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(action).toHaveBeenCalledOnce();
});

test("or not, if it is stopped before", () => after(2, () => expect.unreachable())());

test("or never", () => {
  after(Infinity, () => expect.unreachable());
  expect(vi.getTimerCount()).toBe(0);
});

test("a wait longer than timers take does not end at once", () => {
  const stop = after(1e9, () => expect.unreachable());
  vi.advanceTimersByTime(1000);
  stop();
});

test("a promise in time is not late", async () => {
  expect(await within(1, Promise.resolve(7), () => expect.unreachable())).toBe(7);
  await expect(within(1, Promise.reject(new Error("no")), () => expect.unreachable())).rejects.toThrow("no");
});

test("one that is late is made to end", async () => {
  let end = () => {};
  const promise = new Promise<never>((_, reject) => {
    end = () => reject(new Error("late"));
  });
  const waiting = expect(within(1, promise, () => end())).rejects.toThrow("late");
  vi.advanceTimersByTime(1000);
  await waiting;
});

test("sleep ends in time, and leaves nothing at the signal", async () => {
  const { signal } = new AbortController();
  const remove = vi.spyOn(signal, "removeEventListener");
  const sleeping = sleep(3, signal);
  vi.advanceTimersByTime(3000);
  await sleeping;
  expect(remove).toHaveBeenCalledOnce();
});

test("sleep ends with the signal, before it or in it", async () => {
  const aborter = new AbortController();
  const sleeping = expect(sleep(3, aborter.signal)).rejects.toThrow("enough");
  aborter.abort(new Error("enough"));
  await sleeping;
  await expect(sleep(3, aborter.signal)).rejects.toThrow("enough");
});
