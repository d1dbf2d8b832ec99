/** Streams that end without a terminal event: each throws an error of the client. */

import { describe, expect } from "vitest";
import { Client, type Event, StreamInterrupted, TimedOut } from "../src/index.ts";
import { DONE, ID, STARTED, wireEvents } from "./recordings.ts";
import { brokenStream, hold, type Reply, refuse, stream, THINK, test } from "./replay-server.ts";
import { collect, think } from "./sessions.ts";

describe("interruptions", () => {
  const events = wireEvents(DONE);
  const counts = [0, 1, 4, events.length - 1];

  test.for(counts.flatMap((num) => [stream, brokenStream].map((reply) => ({ num, reply, kind: reply.name }))))(
    "after $num events of a $kind",
    async ({ num, reply }, { server }) => {
      server.on(THINK, reply(events.slice(0, num).join(""), "event: d"));
      const session = think(server, { maxRetries: 2 });
      const received: Event[] = [];
      await expect(collect(session, received)).rejects.toBeInstanceOf(StreamInterrupted);
      expect(received).toEqual(DONE.events.slice(0, num));
      const { id, thinking, answers } = session;
      await expect(session.result()).rejects.toMatchObject({ id, thinking, answers });
      expect(server.requests).toHaveLength(1);
    },
  );

  test("an invalid event", async ({ server }) => {
    server.on(THINK, stream(STARTED, "data: {\n\n", ...events));
    await expect(think(server).result()).rejects.toThrow("the server sent an invalid event");
  });

  test("a response that is not an event stream", async ({ server }) => {
    server.on(THINK, refuse(200, "<html></html>", { "Content-Type": "text/html" }));
    await expect(think(server).result()).rejects.toThrow('answered with "text/html"');
  });

  test("silence in a stream", async ({ server }) => {
    const disconnected = hold(server, STARTED);
    await expect(think(server, { silenceTimeoutS: 0.2 }).result()).rejects.toMatchObject({
      name: "StreamInterrupted",
      message: `${server.url} has been silent for 0.2 s`,
      id: ID,
    });
    await disconnected;
  });

  test("silence before the response", async ({ server }) => {
    server.on(THINK, async (_, disconnected) => disconnected);
    const result = think(server, { silenceTimeoutS: 0.2, maxRetries: 2 }).result();
    await expect(result).rejects.toMatchObject({
      name: "StreamInterrupted",
      message: `no response from ${server.url} within 0.2 s`,
      id: null,
    });
    expect(server.requests).toHaveLength(1);
  });

  test("the time-out of the session", async ({ server }) => {
    const disconnected = hold(server, STARTED);
    await expect(think(server, { timeoutS: 0.2 }).result()).rejects.toBeInstanceOf(TimedOut);
    await disconnected;
    const session = new Client(server.url, { timeoutS: Infinity }).think("7-3", { timeoutS: 0.2 });
    await expect(session.result()).rejects.toMatchObject({ name: "TimedOut", message: "not done within 0.2 s" });
  });

  test("an event without an end", async ({ server }) => {
    server.on(THINK, endless(200, "text/event-stream", STARTED));
    await expect(think(server).result()).rejects.toMatchObject({
      name: "StreamInterrupted",
      message: expect.stringContaining("the server sent an event of more than"),
      id: ID,
    });
  });

  test("an error body without an end", async ({ server }) => {
    server.on(THINK, endless(500, "text/plain"));
    await expect(think(server).result()).rejects.toMatchObject({ name: "RequestRefused", message: "HTTP 500" });
  });

  test("a redirect", async ({ server }) => {
    server.on(THINK, refuse(307, "", { Location: "/elsewhere" }));
    server.on("POST /elsewhere", stream(...events));
    await expect(think(server).result()).rejects.toMatchObject({ name: "RequestRefused", status: 307 });
    expect(server.requests).toHaveLength(1);
  });
});

/** A response whose body does not end until the client disconnects. */
function endless(status: number, contentType: string, beginning = ""): Reply {
  return async (response, disconnected) => {
    let isConnected = true;
    disconnected.then(() => {
      isConnected = false;
    });
    response.writeHead(status, { "Content-Type": contentType });
    response.write(beginning);
    while (isConnected) {
      response.write("a".repeat(2 ** 20));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
}
