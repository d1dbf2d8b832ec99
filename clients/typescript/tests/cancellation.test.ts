/** Streams that the caller ends early: by leaving the loop or scope, by close or cancel, or by a signal. */

import { getEventListeners } from "node:events";
import { describe, expect } from "vitest";
import { Client, type Event } from "../src/index.ts";
import { CANCELLED, DONE, ID, STARTED, wireEvents } from "./recordings.ts";
import { begin, hold, refuse, stream, THINK, test } from "./replay-server.ts";
import { collect, think } from "./sessions.ts";

describe("a stream that is ended early", () => {
  test("closes its connection at a break", async ({ server }) => {
    const disconnected = hold(server, STARTED);
    const session = think(server);
    for await (const event of session) {
      expect(event.type).toBe("started");
      break;
    }
    await disconnected;
    await expect(session.result()).rejects.toMatchObject({ name: "StreamInterrupted", id: ID });
  });

  test("closes its connection at the end of its scope", async ({ server }) => {
    const disconnected = hold(server, STARTED);
    {
      await using session = think(server);
      await session[Symbol.asyncIterator]().next();
    }
    await disconnected;
  });

  test("ends a waiting iteration at close", async ({ server }) => {
    const disconnected = hold(server, STARTED);
    const session = think(server);
    const received: Event[] = [];
    for await (const event of session) {
      received.push(event);
      setImmediate(() => session.close());
    }
    expect(received).toHaveLength(1);
    await disconnected;
  });

  test("sends nothing if it is closed before it is read", async ({ server }) => {
    const session = think(server);
    session.close();
    expect(await collect(session)).toEqual([]);
    expect(server.requests).toEqual([]);
  });

  test("ends without an error at cancel", async ({ server }) => {
    let sendError = () => {};
    server.on(THINK, (response) => {
      begin(response, STARTED);
      sendError = () => response.end(wireEvents(CANCELLED).at(-1));
    });
    server.on(`DELETE /v1/anytime/${ID}`, (response) => {
      sendError();
      response.writeHead(204).end();
    });
    const session = think(server);
    const received: Event[] = [];
    for await (const event of session) {
      received.push(event);
      setImmediate(() => session.cancel());
    }
    expect(received).toHaveLength(1);
    expect(server.requests.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
  });

  test("closes its connection even if cancel is refused", async ({ server }) => {
    const disconnected = hold(server, STARTED);
    server.on(`DELETE /v1/anytime/${ID}`, refuse(500, ""));
    const session = think(server);
    await session[Symbol.asyncIterator]().next();
    await expect(session.cancel()).rejects.toMatchObject({ status: 500 });
    await disconnected;
    expect(await collect(session)).toEqual([]);
  });
});

describe("an AbortSignal", () => {
  const reason = new Error("aborted by the test");

  test("ends a stream with its reason", async ({ server }) => {
    const disconnected = hold(server, STARTED);
    const aborter = new AbortController();
    const session = new Client(server.url).think("7-3", { signal: aborter.signal });
    await session[Symbol.asyncIterator]().next();
    setImmediate(() => aborter.abort(reason));
    await expect(session.result()).rejects.toBe(reason);
    await disconnected;
  });

  test("ends a stream between two events of a chunk", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const aborter = new AbortController();
    const events = new Client(server.url).think("7-3", { signal: aborter.signal })[Symbol.asyncIterator]();
    await events.next();
    aborter.abort(reason);
    await expect(events.next()).rejects.toBe(reason);
  });

  test("ends the wait for a response", async ({ server }) => {
    const aborter = new AbortController();
    server.on(THINK, (_, disconnected) => {
      aborter.abort(reason);
      return disconnected;
    });
    await expect(new Client(server.url).think("7-3", { signal: aborter.signal }).result()).rejects.toBe(reason);
  });

  test("ends the wait before a retry", async ({ server }) => {
    const aborter = new AbortController();
    server.on(THINK, (response, disconnected) => {
      refuse(503, "", { "Retry-After": "25" })(response, disconnected);
      response.once("finish", () => aborter.abort(reason));
    });
    await expect(new Client(server.url).think("7-3", { signal: aborter.signal }).result()).rejects.toBe(reason);
    expect(server.requests).toHaveLength(1);
  });

  test("that is already aborted prevents the request", async ({ server }) => {
    const session = new Client(server.url).think("7-3", { signal: AbortSignal.abort(reason) });
    await expect(session.result()).rejects.toBe(reason);
    expect(server.requests).toEqual([]);
  });

  test("has no listener once the session has ended", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const { signal } = new AbortController();
    await new Client(server.url).think("7-3", { signal }).result();
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});
