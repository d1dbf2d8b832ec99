/** Streams that are left by one's own wish: by the loop, the scope, the buttons or a signal. */

import { getEventListeners } from "node:events";
import { describe, expect } from "vitest";
import { Client, type Event } from "../src/index.ts";
import { all, ask } from "./asking.ts";
import { CANCELLED, DONE, ID, STARTED, wireEvents } from "./recordings.ts";
import { begin, hold, refuse, stream, THINK, test } from "./replay.ts";

describe("leaving", () => {
  test("break drops the connection", async ({ server }) => {
    const left = hold(server, STARTED);
    const session = ask(server);
    for await (const event of session) {
      expect(event.type).toBe("started");
      break;
    }
    await left;
    await expect(session.result()).rejects.toMatchObject({ name: "StreamInterrupted", id: ID });
  });

  test("the end of a scope does", async ({ server }) => {
    const left = hold(server, STARTED);
    {
      await using session = ask(server);
      await session[Symbol.asyncIterator]().next();
    }
    await left;
  });

  test("close ends the reading that waits", async ({ server }) => {
    const left = hold(server, STARTED);
    const session = ask(server);
    const came: Event[] = [];
    for await (const event of session) {
      came.push(event);
      setImmediate(() => session.close());
    }
    expect(came).toHaveLength(1);
    await left;
  });

  test("close before the reading sends nothing", async ({ server }) => {
    const session = ask(server);
    session.close();
    expect(await all(session)).toEqual([]);
    expect(server.requests).toEqual([]);
  });

  test("cancel ends it, and what the server says of that is no error", async ({ server }) => {
    let tell = () => {};
    server.on(THINK, (response) => {
      begin(response, STARTED);
      tell = () => response.end(wireEvents(CANCELLED).at(-1));
    });
    server.on(`DELETE /v1/anytime/${ID}`, (response) => {
      tell();
      response.writeHead(204).end();
    });
    const session = ask(server);
    const came: Event[] = [];
    for await (const event of session) {
      came.push(event);
      setImmediate(() => session.cancel());
    }
    expect(came).toHaveLength(1);
    expect(server.requests.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
  });

  test("cancel drops the connection even if it is refused", async ({ server }) => {
    const left = hold(server, STARTED);
    server.on(`DELETE /v1/anytime/${ID}`, refuse(500, ""));
    const session = ask(server);
    await session[Symbol.asyncIterator]().next();
    await expect(session.cancel()).rejects.toMatchObject({ status: 500 });
    await left;
    expect(await all(session)).toEqual([]);
  });
});

describe("an AbortSignal", () => {
  const reason = new Error("enough");

  test("ends a stream with its reason", async ({ server }) => {
    const left = hold(server, STARTED);
    const aborter = new AbortController();
    const session = new Client(server.url).think("7-3", { signal: aborter.signal });
    await session[Symbol.asyncIterator]().next();
    setImmediate(() => aborter.abort(reason));
    await expect(session.result()).rejects.toBe(reason);
    await left;
  });

  test("ends a stream between two events of a piece", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const aborter = new AbortController();
    const events = new Client(server.url).think("7-3", { signal: aborter.signal })[Symbol.asyncIterator]();
    await events.next();
    aborter.abort(reason);
    await expect(events.next()).rejects.toBe(reason);
  });

  test("ends the waiting for a stream", async ({ server }) => {
    const aborter = new AbortController();
    server.on(THINK, (_, gone) => {
      aborter.abort(reason);
      return gone;
    });
    await expect(new Client(server.url).think("7-3", { signal: aborter.signal }).result()).rejects.toBe(reason);
  });

  test("ends the waiting for another try", async ({ server }) => {
    const aborter = new AbortController();
    server.on(THINK, (response, gone) => {
      refuse(503, "", { "Retry-After": "25" })(response, gone);
      response.once("finish", () => aborter.abort(reason));
    });
    await expect(new Client(server.url).think("7-3", { signal: aborter.signal }).result()).rejects.toBe(reason);
    expect(server.requests).toHaveLength(1);
  });

  test("that is aborted already sends nothing", async ({ server }) => {
    const session = new Client(server.url).think("7-3", { signal: AbortSignal.abort(reason) });
    await expect(session.result()).rejects.toBe(reason);
    expect(server.requests).toEqual([]);
  });

  test("is left alone once the session has ended", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const { signal } = new AbortController();
    await new Client(server.url).think("7-3", { signal }).result();
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});
