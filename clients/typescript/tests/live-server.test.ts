/** Against the server at ANYTIME_URL, if it is set. Its model must think slowly and never end the thinking itself. */

import { describe, expect, test } from "vitest";
import { Client } from "../src/index.ts";
import type { Stream } from "../src/stream.ts";

const url = process.env["ANYTIME_URL"];
/** Most of the context window, in thinking tokens. */
const LONG_BUDGET = 900;

describe.skipIf(url === undefined)("the client", () => {
  const client = new Client(url);
  const thinking = { seed: 5 };

  async function get(path: string): Promise<string> {
    return (await fetch(url + path)).text();
  }

  async function waitUntilEngineIsIdle(): Promise<void> {
    await expect.poll(() => get("/metrics"), { timeout: 10_000 }).toMatch(/^anytime_engine_requests 0\.0$/m);
  }

  /** Read the first events up to the thinking, without closing the stream. */
  async function readUntilThinking(session: Stream): Promise<void> {
    const events = session[Symbol.asyncIterator]();
    let next = await events.next();
    while (next.value?.type !== "thinking") next = await events.next();
    expect(await get("/metrics")).not.toMatch(/^anytime_engine_requests 0\.0$/m);
  }

  test("parses a stream into the unstreamed response", async () => {
    const session = client.think("7-3", { budget: 12, thinking });
    const types: string[] = [];
    for await (const event of session) types.push(event.type);
    expect([types[0], types[1], types.at(-2), types.at(-1)]).toEqual(["started", "thinking", "answer.done", "done"]);
    expect(types).not.toContain("unknown");
    const { model, thinking: streamedThinking, answer, stop } = await session.result();
    expect(stop).toEqual({ cause: "budget", budget_tokens: 12, thinking_tokens: 12 });
    expect(answer.trim()).not.toBe("");

    const body = { messages: [{ role: "user", content: "7-3" }], budget: 12, thinking, stream: false };
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(`${url}/v1/anytime`, { method: "POST", headers, body: JSON.stringify(body) });
    const whole = await response.json();
    expect(whole).toMatchObject({ model, thinking: streamedThinking, answer, stop });
    const shape = (value: object) => Object.keys(value).sort();
    expect(shape(await session.result())).toEqual(shape(whole));
    expect(shape((await session.result()).answers[0] ?? {})).toEqual(shape(whole.answers[0]));
  });

  test("receives early answers at several budgets", async () => {
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
    await readUntilThinking(session);
    expect(await session.answerNow()).toBe(true);
    expect(await session.answerNow()).toBe(false);
    expect((await session.result()).stop.cause).toBe("client");
    expect(await session.answerNow()).toBe(false);
  });

  test("extends the budget", async () => {
    const session = client.think("7-3", { budget: LONG_BUDGET, thinking });
    await readUntilThinking(session);
    expect(await session.extend(5)).toBe(LONG_BUDGET + 5);
    expect(await session.answerNow()).toBe(true);
    expect((await session.result()).stop).toMatchObject({ cause: "client", budget_tokens: LONG_BUDGET + 5 });
    await expect(session.extend(1)).rejects.toMatchObject({ status: 404, code: "unknown_session" });
  });

  test("resumes from a continuation token", async () => {
    const { continuation } = await client.think("7-3", { budget: 6, thinking }).result();
    const { stop } = await client.think("7-3", { budget: 5, continuation, thinking }).result();
    expect(stop).toEqual({ cause: "budget", budget_tokens: 5, thinking_tokens: 5 });
  });

  test("reports the invalid field", async () => {
    const refused = { name: "RequestRefused", status: 422, code: "invalid_request", field: "budgets.1" };
    await expect(client.think("7-3", { budgets: [1, -1] }).result()).rejects.toMatchObject(refused);
  });

  test("lists the models", async () => {
    const [card] = await client.models();
    expect(card?.max_model_len).toBeGreaterThan(0);
    expect(card?.anytime.examples.length).toBeGreaterThan(0);
    expect(card?.anytime.accuracy_curve).toBeInstanceOf(Array);
    expect((await client.think("7-3", { model: card?.id, budget: 0 }).result()).model).toBe(card?.id);
  });

  test.each<[string, (session: Stream) => unknown]>([
    ["cancel", (session) => session.cancel()],
    ["close", (session) => session.close()],
    ["the end of the loop", (session) => session[Symbol.asyncIterator]().return(undefined)],
  ])("frees the engine at %s", async (_, end) => {
    const session = client.think("7-3", { thinking });
    await readUntilThinking(session);
    await end(session);
    await waitUntilEngineIsIdle();
    await expect(session.result()).rejects.toMatchObject({ name: "StreamInterrupted", thinking: session.thinking });
  });

  test("frees the engine at an abort signal", async () => {
    const aborter = new AbortController();
    const session = client.think("7-3", { thinking, signal: aborter.signal });
    await readUntilThinking(session);
    aborter.abort(new Error("aborted by the test"));
    await expect(session.result()).rejects.toThrow("aborted by the test");
    await waitUntilEngineIsIdle();
  });

  test("reports a session cancelled by another client", async () => {
    const session = client.think("7-3", { thinking });
    await readUntilThinking(session);
    await client.cancel(session.id ?? "");
    await expect(session.result()).rejects.toMatchObject({ name: "SessionFailed", code: "cancelled" });
    await waitUntilEngineIsIdle();
    await client.cancel(session.id ?? "");
  });
});
