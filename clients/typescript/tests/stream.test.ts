/** A session over real sockets: every stream ends in its result, in an error of ours, or by one's own wish. */

import { getEventListeners } from "node:events";
import { describe, expect, onTestFinished } from "vitest";
import type { Event } from "../src/index.ts";
import { Client, ClientError, type ClientOptions, StreamInterrupted, TimedOut } from "../src/index.ts";
import type { Stream } from "../src/stream.ts";
import { CANCELLED, DONE, RECORDINGS, wireEvents } from "./recordings.ts";
import { begin, brokenStream, json, openStream, type ReplayServer, refuse, stream, test } from "./replay.ts";

const THINK = "POST /v1/anytime";
const STARTED = wireEvents(DONE)[0] ?? "";
const ID: string = JSON.parse(STARTED.split("data: ")[1] ?? "").id;

function ask(server: ReplayServer, options: ClientOptions = {}): Stream {
  return new Client(server.url, { maxRetries: 0, ...options }).think("7-3");
}

async function all(events: AsyncIterable<Event>): Promise<Event[]> {
  const came: Event[] = [];
  for await (const event of events) came.push(event);
  return came;
}

/** Answer with a stream that stays open; gives a promise of the client's going away. */
function hold(server: ReplayServer, ...pieces: string[]): Promise<void> {
  return new Promise((resolve) => {
    server.on(THINK, (response, gone) => {
      openStream(...pieces)(response, gone);
      gone.then(resolve);
    });
  });
}

describe("reading", () => {
  test.for(RECORDINGS)("the recording $name", async (recording, { server }) => {
    server.on(THINK, stream(recording.bytes));
    const session = ask(server);
    const came: Event[] = [];
    const reading = (async () => {
      for await (const event of session) came.push(event);
    })();
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
});

describe("interruptions", () => {
  const events = wireEvents(DONE);
  const cuts = [0, 1, 4, events.length - 1];

  test.for(cuts.flatMap((num) => [stream, brokenStream].map((end) => ({ num, end, how: end.name }))))(
    "after $num events by $how",
    async ({ num, end }, { server }) => {
      server.on(THINK, end(events.slice(0, num).join(""), "event: d"));
      const session = ask(server, { maxRetries: 2 });
      const came: Event[] = [];
      const reading = async () => {
        for await (const event of session) came.push(event);
      };
      await expect(reading()).rejects.toBeInstanceOf(StreamInterrupted);
      expect(came).toEqual(DONE.events.slice(0, num));
      const { id, thinking, answers } = session;
      await expect(session.result()).rejects.toMatchObject({ id, thinking, answers });
      expect(server.requests).toHaveLength(1);
    },
  );

  test("what is no event", async ({ server }) => {
    server.on(THINK, stream(STARTED, "data: {\n\n", ...events));
    await expect(ask(server).result()).rejects.toThrow("the server sent what is no event");
  });

  test("another kind of server", async ({ server }) => {
    server.on(THINK, refuse(200, "<html></html>", { "Content-Type": "text/html" }));
    await expect(ask(server).result()).rejects.toThrow('answered with "text/html"');
  });

  test("silence within a stream", async ({ server }) => {
    const left = hold(server, STARTED);
    await expect(ask(server, { silenceTimeoutS: 0.2 }).result()).rejects.toMatchObject({
      name: "StreamInterrupted",
      message: `nothing came from ${server.url} for 0.2 s`,
      id: ID,
    });
    await left;
  });

  test("silence before it", async ({ server }) => {
    server.on(THINK, async (_, gone) => gone);
    const asking = ask(server, { silenceTimeoutS: 0.2, maxRetries: 2 }).result();
    await expect(asking).rejects.toMatchObject({
      name: "StreamInterrupted",
      message: `no answer from ${server.url} within 0.2 s`,
      id: null,
    });
    expect(server.requests).toHaveLength(1);
  });

  test("the total time-out", async ({ server }) => {
    const left = hold(server, STARTED);
    await expect(ask(server, { timeoutS: 0.2 }).result()).rejects.toBeInstanceOf(TimedOut);
    await left;
    const once = new Client(server.url, { timeoutS: Infinity }).think("7-3", { timeoutS: 0.2 });
    await expect(once.result()).rejects.toMatchObject({ name: "TimedOut", message: "not done within 0.2 s" });
  });
});

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

describe("the buttons", () => {
  /** A session that has started and goes on. */
  async function started(server: ReplayServer): Promise<Stream> {
    hold(server, STARTED);
    const session = ask(server);
    onTestFinished(() => session.close());
    await session[Symbol.asyncIterator]().next();
    return session;
  }

  test.for([
    [202, true],
    [404, false],
    [409, false],
  ] as const)("answer now: %i is %o", async ([status, taken], { server }) => {
    const session = await started(server);
    server.on(`POST /v1/anytime/${ID}/answer`, json({ id: ID, at_tokens: 3 }, status));
    expect(await session.answerNow()).toBe(taken);
    expect(server.requests.at(-1)).toMatchObject({ method: "POST", body: "" });
  });

  test("answer now can be refused", async ({ server }) => {
    const session = await started(server);
    server.on(`POST /v1/anytime/${ID}/answer`, json({ error: { code: "engine_dead", message: "it is dead" } }, 500));
    await expect(session.answerNow()).rejects.toMatchObject({ message: "it is dead", code: "engine_dead" });
  });

  test("extend gives the new budget", async ({ server }) => {
    const session = await started(server);
    server.on(`POST /v1/anytime/${ID}/extend`, json({ id: ID, budget_tokens: 14, at_tokens: 3 }, 202));
    expect(await session.extend(6)).toBe(14);
    expect(server.requests.at(-1)?.body).toBe('{"tokens":6}');
  });

  test("extend tells what is no budget", async ({ server }) => {
    const session = await started(server);
    server.on(`POST /v1/anytime/${ID}/extend`, json({}, 202), json("x"), refuse(200, "<html>"));
    for (let i = 0; i < 3; i++) await expect(session.extend(6)).rejects.toBeInstanceOf(ClientError);
  });

  test("a server that is silent", async ({ server }) => {
    const client = new Client(server.url, { silenceTimeoutS: 0.2 });
    server.on("POST /v1/anytime/any-1/answer", (_, gone) => gone);
    await expect(client.answerNow("any-1")).rejects.toMatchObject({
      name: "StreamInterrupted",
      message: `no answer from ${server.url} within 0.2 s`,
    });
    server.on("GET /v1/models", (response) => void response.writeHead(200).write("{"));
    await expect(client.models()).rejects.toThrow(`${server.url} stopped in the middle of its answer`);
  });

  test("there are none before it has started", async ({ server }) => {
    const session = ask(server);
    for (const press of [session.answerNow(), session.extend(1), session.cancel()]) {
      await expect(press).rejects.toThrow("the session has not started");
      await expect(press).rejects.not.toBeInstanceOf(ClientError);
    }
    expect(server.requests).toEqual([]);
  });
});
