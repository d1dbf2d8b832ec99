/** A session that is read, over real sockets: its events as they come, and its result. */

import { describe, expect } from "vitest";
import type { Event } from "../src/index.ts";
import { Client } from "../src/index.ts";
import { all, ask } from "./asking.ts";
import { DONE, ID, RECORDINGS, wireEvents } from "./recordings.ts";
import { begin, hold, refuse, stream, THINK, test } from "./replay.ts";

describe("reading", () => {
  test.for(RECORDINGS)("the recording $name", async (recording, { server }) => {
    server.on(THINK, stream(recording.bytes));
    const session = ask(server);
    const came: Event[] = [];
    const reading = all(session, came);
    if (recording.error) await expect(reading).rejects.toMatchObject({ name: "SessionFailed", ...recording.error });
    else await reading;
    expect(came).toEqual(recording.events);
    if (recording.error) await expect(session.result()).rejects.toMatchObject(recording.error);
    else expect(await session.result()).toEqual(recording.result);
    expect(server.requests).toHaveLength(1);
  });

  test("a stream torn into bytes is the same", async ({ server }) => {
    server.on(THINK, async (response) => {
      begin(response);
      for (const byte of DONE.bytes) await new Promise((written) => response.write(Uint8Array.of(byte), written));
      response.end();
    });
    expect(await all(ask(server))).toEqual(DONE.events);
  });

  test("events come as they are sent", async ({ server }) => {
    const [first = "", ...others] = wireEvents(DONE);
    let send = () => {};
    server.on(THINK, (response) => {
      begin(response, first);
      send = () => response.end(others.join(""));
    });
    const session = ask(server);
    const events = session[Symbol.asyncIterator]();
    expect(session.id).toBeNull();
    expect((await events.next()).value).toMatchObject({ type: "started", id: ID });
    expect(session.id).toBe(ID);
    send();
    expect((await session.result()).answer).toBe((DONE.result as { answer: string }).answer);
    expect(session.answers).toHaveLength(1);
    expect(session.thinking).not.toBe("");
  });

  test("nothing is read after done", async ({ server }) => {
    const left = hold(server, ...wireEvents(DONE), "data: {\n\n");
    expect(await all(ask(server))).toEqual(DONE.events);
    await left;
  });

  test("the connection is dropped with done, whether it is asked for more or not", async ({ server }) => {
    const left = hold(server, ...wireEvents(DONE));
    const events = ask(server)[Symbol.asyncIterator]();
    for (let next = await events.next(); next.value?.type !== "done"; ) next = await events.next();
    await left;
  });

  test("nothing is sent before it is read", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const session = ask(server);
    expect(await new Client(server.url, { maxRetries: 0 }).answerNow("any-0")).toBe(false);
    expect(server.requests).toHaveLength(1);
    await session.result();
    expect(server.requests).toHaveLength(2);
  });

  test("the result can be asked for as often as one likes", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const session = ask(server);
    expect(await Promise.all([session.result(), session.result()])).toEqual([DONE.result, DONE.result]);
    expect(server.requests).toHaveLength(1);
  });

  test("a failure can be, too", async ({ server }) => {
    server.on(THINK, refuse(422, ""));
    const session = ask(server);
    const failure = await session.result().catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: "RequestRefused", status: 422 });
    await expect(session.result()).rejects.toBe(failure);
    expect(server.requests).toHaveLength(1);
  });
});
