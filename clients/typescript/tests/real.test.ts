/** Against a real server, where ANYTIME_URL names one; its model is to think slowly, and never to end by itself. */

import { describe, expect, test } from "vitest";
import { Client } from "../src/index.ts";
import type { Stream } from "../src/stream.ts";

const url = process.env["ANYTIME_URL"];
/** Thinking tokens: most of the window. */
const LONG = 900;

describe.skipIf(url === undefined)("a real server", () => {
  const client = new Client(url);
  const thinking = { seed: 5 };

  async function get(path: string): Promise<string> {
    return (await fetch(url + path)).text();
  }

  async function engineIsIdle(): Promise<void> {
    await expect.poll(() => get("/metrics"), { timeout: 10_000 }).toMatch(/^anytime_engine_requests 0\.0$/m);
  }

  /** Read until it thinks, without leaving it. */
  async function untilItThinks(session: Stream): Promise<void> {
    const events = session[Symbol.asyncIterator]();
    let next = await events.next();
    while (next.value?.type !== "thinking") next = await events.next();
    expect(await get("/metrics")).not.toMatch(/^anytime_engine_requests 0\.0$/m);
  }

  test("says in a stream what it says in one body", async () => {
    const session = client.think("7-3", { budget: 12, thinking });
    const types: string[] = [];
    for await (const event of session) types.push(event.type);
    expect([types[0], types[1], types.at(-2), types.at(-1)]).toEqual(["started", "thinking", "answer.done", "done"]);
    expect(types).not.toContain("unknown");
    const { model, thinking: thought, answer, stop } = await session.result();
    expect(stop).toEqual({ cause: "budget", budget_tokens: 12, thinking_tokens: 12 });
    expect(answer.trim()).not.toBe("");

    const body = { messages: [{ role: "user", content: "7-3" }], budget: 12, thinking, stream: false };
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(`${url}/v1/anytime`, { method: "POST", headers, body: JSON.stringify(body) });
    const whole = await response.json();
    expect(whole).toMatchObject({ model, thinking: thought, answer, stop });
    const shape = (value: object) => Object.keys(value).sort();
    expect(shape(await session.result())).toEqual(shape(whole));
    expect(shape((await session.result()).answers[0] ?? {})).toEqual(shape(whole.answers[0]));
  });

  test("answers at several budgets", async () => {
    const { answers, answer } = await client.think("7-3", { budget: 24, budgets: [8, 4], thinking }).result();
    expect(answers.map(({ at_tokens, provisional }) => [at_tokens, provisional])).toEqual([
      [4, true],
      [8, true],
      [24, false],
    ]);
    expect(answers.at(-1)?.text).toBe(answer);
  });

  test("answers now, once", async () => {
    const session = client.think("7-3", { thinking });
    await untilItThinks(session);
    expect(await session.answerNow()).toBe(true);
    expect(await session.answerNow()).toBe(false);
    expect((await session.result()).stop.cause).toBe("client");
    expect(await session.answerNow()).toBe(false);
  });

  test("thinks longer than it was to", async () => {
    const session = client.think("7-3", { budget: LONG, thinking });
    await untilItThinks(session);
    expect(await session.extend(5)).toBe(LONG + 5);
    expect(await session.answerNow()).toBe(true);
    expect((await session.result()).stop).toMatchObject({ cause: "client", budget_tokens: LONG + 5 });
    await expect(session.extend(1)).rejects.toMatchObject({ status: 404, code: "unknown_session" });
  });

  test("thinks on from where it stopped", async () => {
    const { continuation } = await client.think("7-3", { budget: 6, thinking }).result();
    const { stop } = await client.think("7-3", { budget: 5, continuation, thinking }).result();
    expect(stop).toEqual({ cause: "budget", budget_tokens: 5, thinking_tokens: 5 });
  });

  test("names the field that it refuses", async () => {
    const refused = { name: "RequestRefused", status: 422, code: "invalid_request", field: "budgets.1" };
    await expect(client.think("7-3", { budgets: [1, -1] }).result()).rejects.toMatchObject(refused);
  });

  test("tells what it serves", async () => {
    const [card] = await client.models();
    expect(card?.max_model_len).toBeGreaterThan(0);
    expect(card?.anytime.examples.length).toBeGreaterThan(0);
    expect(card?.anytime.accuracy_curve).toBeInstanceOf(Array);
    expect((await client.think("7-3", { model: card?.id, budget: 0 }).result()).model).toBe(card?.id);
  });

  test.each<[string, (session: Stream) => unknown]>([
    ["cancel", (session) => session.cancel()],
    ["close", (session) => session.close()],
    ["the end of a loop", (session) => session[Symbol.asyncIterator]().return(undefined)],
  ])("is left by %s, and computes nothing more", async (_, leave) => {
    const session = client.think("7-3", { thinking });
    await untilItThinks(session);
    await leave(session);
    await engineIsIdle();
    await expect(session.result()).rejects.toMatchObject({ name: "StreamInterrupted", thinking: session.thinking });
  });

  test("is left by a signal, and computes nothing more", async () => {
    const aborter = new AbortController();
    const session = client.think("7-3", { thinking, signal: aborter.signal });
    await untilItThinks(session);
    aborter.abort(new Error("enough"));
    await expect(session.result()).rejects.toThrow("enough");
    await engineIsIdle();
  });

  test("tells of a session that somebody else cancelled", async () => {
    const session = client.think("7-3", { thinking });
    await untilItThinks(session);
    await client.cancel(session.id ?? "");
    await expect(session.result()).rejects.toMatchObject({ name: "SessionFailed", code: "cancelled" });
    await engineIsIdle();
    await client.cancel(session.id ?? "");
  });
});
