/** Controls of a session: answer now, extend, cancel. */

import { expect, onTestFinished } from "vitest";
import { Client, ClientError } from "../src/index.ts";
import type { Stream } from "../src/stream.ts";
import { ID, STARTED } from "./recordings.ts";
import { hold, json, type ReplayServer, refuse, test } from "./replay-server.ts";
import { think } from "./sessions.ts";

/** A session that has started and does not end. */
async function started(server: ReplayServer): Promise<Stream> {
  hold(server, STARTED);
  const session = think(server);
  onTestFinished(() => session.close());
  await session[Symbol.asyncIterator]().next();
  return session;
}

test.for([
  [202, true],
  [404, false],
  [409, false],
] as const)("answerNow with status %i returns %o", async ([status, stopped], { server }) => {
  const session = await started(server);
  server.on(`POST /v1/anytime/${ID}/answer`, json({ id: ID, at_tokens: 3 }, status));
  expect(await session.answerNow()).toBe(stopped);
  expect(server.requests.at(-1)).toMatchObject({ method: "POST", body: "" });
});

test("refused answerNow throws", async ({ server }) => {
  const session = await started(server);
  server.on(`POST /v1/anytime/${ID}/answer`, json({ error: { code: "engine_dead", message: "it is dead" } }, 500));
  await expect(session.answerNow()).rejects.toMatchObject({ message: "it is dead", code: "engine_dead" });
});

test("extend returns the new budget", async ({ server }) => {
  const session = await started(server);
  server.on(`POST /v1/anytime/${ID}/extend`, json({ id: ID, budget_tokens: 14, at_tokens: 3 }, 202));
  expect(await session.extend(6)).toBe(14);
  expect(server.requests.at(-1)?.body).toBe('{"tokens":6}');
});

test("extend throws at an invalid response", async ({ server }) => {
  const session = await started(server);
  server.on(`POST /v1/anytime/${ID}/extend`, json({}, 202), json("x"), refuse(200, "<html>"));
  for (let i = 0; i < 3; i++) await expect(session.extend(6)).rejects.toBeInstanceOf(ClientError);
});

test("a silent server interrupts a control", async ({ server }) => {
  const client = new Client(server.url, { silenceTimeoutS: 0.2 });
  server.on("POST /v1/anytime/any-1/answer", (_, disconnected) => disconnected);
  await expect(client.answerNow("any-1")).rejects.toMatchObject({
    name: "StreamInterrupted",
    message: `no response from ${server.url} within 0.2 s`,
  });
  server.on("GET /v1/models", (response) => void response.writeHead(200).write("{"));
  await expect(client.models()).rejects.toThrow(`${server.url} stopped in the middle of its response`);
});

test("controls throw before the session has started", async ({ server }) => {
  const session = think(server);
  for (const control of [session.answerNow(), session.extend(1), session.cancel()]) {
    await expect(control).rejects.toThrow("the session has not started");
    await expect(control).rejects.not.toBeInstanceOf(ClientError);
  }
  expect(server.requests).toEqual([]);
});
