/** Reading a session over real sockets: its events and its result. */

import { describe, expect } from "vitest";
import type { Event } from "../src/index.ts";
import { Client } from "../src/index.ts";
import { DONE, ID, RECORDINGS, wireEvents } from "./recordings.ts";
import { begin, hold, refuse, stream, THINK, test } from "./replay-server.ts";
import { collect, think } from "./sessions.ts";

describe("a stream", () => {
  test.for(RECORDINGS)("gives the events and result of recording $name", async (recording, { server }) => {
    server.on(THINK, stream(recording.bytes));
    const session = think(server);
    const received: Event[] = [];
    const reading = collect(session, received);
    if (recording.error) await expect(reading).rejects.toMatchObject({ name: "SessionFailed", ...recording.error });
    else await reading;
    expect(received).toEqual(recording.events);
    if (recording.error) await expect(session.result()).rejects.toMatchObject(recording.error);
    else expect(await session.result()).toEqual(recording.result);
    expect(server.requests).toHaveLength(1);
  });

  test("gives the same events when sent byte by byte", async ({ server }) => {
    server.on(THINK, async (response) => {
      begin(response);
      for (const byte of DONE.bytes) await new Promise((written) => response.write(Uint8Array.of(byte), written));
      response.end();
    });
    expect(await collect(think(server))).toEqual(DONE.events);
  });

  test("yields events as they are sent", async ({ server }) => {
    const [first = "", ...others] = wireEvents(DONE);
    let send = () => {};
    server.on(THINK, (response) => {
      begin(response, first);
      send = () => response.end(others.join(""));
    });
    const session = think(server);
    const events = session[Symbol.asyncIterator]();
    expect(session.id).toBeNull();
    expect((await events.next()).value).toMatchObject({ type: "started", id: ID });
    expect(session.id).toBe(ID);
    send();
    expect((await session.result()).answer).toBe((DONE.result as { answer: string }).answer);
    expect(session.answers).toHaveLength(1);
    expect(session.thinking).not.toBe("");
  });

  test("ignores data after done", async ({ server }) => {
    const disconnected = hold(server, ...wireEvents(DONE), "data: {\n\n");
    expect(await collect(think(server))).toEqual(DONE.events);
    await disconnected;
  });

  test("closes its connection at done", async ({ server }) => {
    const disconnected = hold(server, ...wireEvents(DONE));
    const events = think(server)[Symbol.asyncIterator]();
    for (let next = await events.next(); next.value?.type !== "done"; ) next = await events.next();
    await disconnected;
  });

  test("sends the request when it is first read", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const session = think(server);
    expect(await new Client(server.url, { maxRetries: 0 }).answerNow("any-0")).toBe(false);
    expect(server.requests).toHaveLength(1);
    await session.result();
    expect(server.requests).toHaveLength(2);
  });

  test("gives its result repeatedly", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const session = think(server);
    expect(await Promise.all([session.result(), session.result()])).toEqual([DONE.result, DONE.result]);
    expect(server.requests).toHaveLength(1);
  });

  test("throws its failure repeatedly", async ({ server }) => {
    server.on(THINK, refuse(422, ""));
    const session = think(server);
    const failure = await session.result().catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: "RequestRefused", status: 422 });
    await expect(session.result()).rejects.toBe(failure);
    expect(server.requests).toHaveLength(1);
  });
});
