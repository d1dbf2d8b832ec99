/** Streams that do not end as they should: each ends in an error of ours. */

import { describe, expect } from "vitest";
import { Client, type Event, StreamInterrupted, TimedOut } from "../src/index.ts";
import { all, ask } from "./asking.ts";
import { DONE, ID, STARTED, wireEvents } from "./recordings.ts";
import { brokenStream, hold, refuse, stream, THINK, test } from "./replay.ts";

describe("interruptions", () => {
  const events = wireEvents(DONE);
  const cuts = [0, 1, 4, events.length - 1];

  test.for(cuts.flatMap((num) => [stream, brokenStream].map((end) => ({ num, end, how: end.name }))))(
    "after $num events by $how",
    async ({ num, end }, { server }) => {
      server.on(THINK, end(events.slice(0, num).join(""), "event: d"));
      const session = ask(server, { maxRetries: 2 });
      const came: Event[] = [];
      await expect(all(session, came)).rejects.toBeInstanceOf(StreamInterrupted);
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
