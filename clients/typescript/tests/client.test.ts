/** Requests: what is sent, what a refusal tells, what is tried again. */

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { describe, expect, onTestFinished } from "vitest";
import { Client, ClientError, type ClientOptions, RequestRefused, ServerUnreachable } from "../src/index.ts";
import { DONE } from "./recordings.ts";
import { json, ReplayServer, refuse, stream, THINK, test } from "./replay.ts";

const AGAIN = { "Retry-After": "0" };

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

describe("what is sent", () => {
  test("only what is given", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    await new Client(server.url).think("7-3 €", { budget: 6, model: undefined }).result();
    const [seen] = server.requests;
    expect(JSON.parse(seen?.body ?? "")).toEqual({
      messages: [{ role: "user", content: "7-3 €" }],
      budget: 6,
      stream: true,
    });
    expect(seen?.headers["content-type"]).toBe("application/json");
    expect(seen?.headers).not.toHaveProperty("authorization");
  });

  test("all of it under its own name", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    const messages = [{ role: "system", content: "Be brief." } as const, { role: "user", content: "7-3" } as const];
    const { signal } = new AbortController();
    const fields = {
      model: "m",
      budget: { tokens: 6, deadline_ms: 500 },
      budgets: [2, 4],
      stop_when: { stable: 2, every_tokens: 8, min_confidence: 0.9 },
      answer: { max_tokens: 9, temperature: 0, response_format: { type: "json_object" }, forcing: "close" },
      thinking: { temperature: 0.6, top_p: 0.95, seed: 7 },
      continuation: "a1.x",
    } as const;
    await new Client(server.url).think(messages, { ...fields, signal, timeoutS: 60 }).result();
    expect(JSON.parse(server.requests[0]?.body ?? "")).toEqual({ messages, ...fields, stream: true });
  });

  test("key and headers, with every request", async ({ server }) => {
    const client = new Client(server.url, { apiKey: "k", headers: { "X-Team": "t" }, maxRetries: 0 });
    server.on(THINK, stream(DONE.bytes));
    server.on("GET /v1/models", json({ data: [] }));
    await client.think("7-3").result();
    await client.models();
    await client.answerNow("any-1");
    await client.cancel("any-1");
    expect(server.requests).toHaveLength(4);
    for (const { headers } of server.requests) {
      expect(headers).toMatchObject({ authorization: "Bearer k", "x-team": "t" });
    }
  });

  test("a header that is given rather than the key, each once", async ({ server }) => {
    const headers = { authorization: "Basic x", "content-type": "text/plain" };
    server.on(THINK, stream(DONE.bytes));
    await new Client(server.url, { apiKey: "k", headers }).think("7-3").result();
    expect(server.requests[0]?.headers).toMatchObject({ authorization: "Basic x", "content-type": "application/json" });
  });

  test.for(["", "/", "/v1", "/v1/"])("to an address that ends in %j", async (end, { server }) => {
    server.on("GET /v1/models", json({ data: [{ id: "m" }] }));
    expect(await new Client(server.url + end).models()).toEqual([{ id: "m" }]);
  });

  test("below a path, whatever a page's address has behind it", async ({ server }) => {
    server.on("GET /behind/a/proxy/v1/models", json({ data: [] }));
    expect(await new Client(new URL("/behind/a/proxy/?q#top", server.url)).models()).toEqual([]);
  });

  test("no path of a session's name", async ({ server }) => {
    expect(await new Client(server.url).answerNow("../../x?")).toBe(false);
    expect(server.requests[0]?.path).toBe("/v1/anytime/..%2F..%2Fx%3F/answer");
  });
});

test.for(["localhost:8000", "ftp://localhost", "", "http://[bad"])("%j is no address", (url) => {
  expect(() => new Client(url)).toThrow(ServerUnreachable);
});

describe("a refusal", () => {
  test("tells what the server said", async ({ server }) => {
    const error = { code: "invalid_request", message: "budget: must not be negative", field: "budget" };
    server.on(THINK, refuse(422, JSON.stringify({ error }), { "X-Request-Id": "any-7", "Retry-After": "3" }));
    await expect(new Client(server.url).think("7-3").result()).rejects.toMatchObject({
      ...error,
      name: "RequestRefused",
      status: 422,
      requestId: "any-7",
      retryAfterS: 3,
    });
    expect(server.requests).toHaveLength(1);
  });

  test.for(["", "Bad Gateway", "[]", "{}", '{"error": "x"}', '{"error": null}', "null"])(
    "in other words tells its status: %j",
    async (body, { server }) => {
      server.on(THINK, refuse(502, body));
      const refused = { message: "HTTP 502", status: 502, code: null, field: null, requestId: null, retryAfterS: null };
      await expect(new Client(server.url).think("7-3").result()).rejects.toMatchObject(refused);
    },
  );

  test("is not what breaks off", async ({ server }) => {
    server.on("GET /v1/models", (response) => {
      response.writeHead(200).write('{"data": [', () => response.destroy());
    });
    const broken = { name: "StreamInterrupted", message: `the connection to ${server.url} broke` };
    await expect(new Client(server.url).models()).rejects.toMatchObject(broken);
  });

  test("is not what breaks off in a browser, which does not tell why", async () => {
    const broken = () =>
      new ReadableStream({
        start(body) {
          body.enqueue(new TextEncoder().encode('{"data": ['));
        },
        pull(body) {
          body.error(new TypeError("network error"));
        },
      });
    const client = new Client("http://127.0.0.1:8000", { fetch: async () => new Response(broken()) });
    await expect(client.models()).rejects.toMatchObject({
      name: "StreamInterrupted",
      message: "the connection to http://127.0.0.1:8000 broke",
    });
  });

  test.for(["{}", "[]", '"x"', "<html>", ""])("of models that are none: %j", async (body, { server }) => {
    server.on("GET /v1/models", refuse(200, body));
    await expect(new Client(server.url).models()).rejects.toMatchObject({ name: "ClientError" });
  });
});

describe("another try", () => {
  test.for([429, 503])("after %i", async (status, { server }) => {
    server.on(THINK, refuse(status, "", AGAIN), refuse(status, "", AGAIN), stream(DONE.bytes));
    expect(await new Client(server.url).think("7-3").result()).toEqual(DONE.result);
    expect(server.requests).toHaveLength(3);
    expect(server.requests[2]).toEqual(server.requests[0]);
  });

  test.for([
    [0, 1],
    [1, 2],
    [2, 3],
  ] as const)("%i times at most: %i requests", async ([maxRetries, requests], { server }) => {
    server.on(THINK, refuse(503, "", AGAIN));
    const asking = new Client(server.url, { maxRetries }).think("7-3").result();
    await expect(asking).rejects.toMatchObject({ status: 503 });
    expect(server.requests).toHaveLength(requests);
  });

  test.for([400, 404, 422, 500, 502, 504])("not after %i", async (status, { server }) => {
    server.on(THINK, refuse(status, "", AGAIN), stream(DONE.bytes));
    await expect(new Client(server.url).think("7-3").result()).rejects.toMatchObject({ status });
    expect(server.requests).toHaveLength(1);
  });

  test("not where the server asks for a long wait", async ({ server }) => {
    server.on(THINK, refuse(503, "", { "Retry-After": "3600" }), stream(DONE.bytes));
    await expect(new Client(server.url).think("7-3").result()).rejects.toMatchObject({ retryAfterS: 3600 });
    expect(server.requests).toHaveLength(1);
  });

  test("not where the wait is longer than all may take", async ({ server }) => {
    server.on(THINK, refuse(503, "", { "Retry-After": "25" }), stream(DONE.bytes));
    const asking = new Client(server.url, { timeoutS: 20 }).think("7-3").result();
    await expect(asking).rejects.toMatchObject({ name: "RequestRefused", status: 503 });
    expect(server.requests).toHaveLength(1);
  });

  test("not after a connection that broke with the request sent", async ({ server }) => {
    server.on(THINK, (response) => void response.destroy(), stream(DONE.bytes));
    const asking = new Client(server.url).think("7-3").result();
    const broken = { name: "StreamInterrupted", message: `the connection to ${server.url} broke`, thinking: "" };
    await expect(asking).rejects.toMatchObject(broken);
    expect(server.requests).toHaveLength(1);
  });

  test("not where it is not told why there is no answer, as in browsers", async ({ server }) => {
    let tries = 0;
    const fetch = async () => {
      tries++;
      throw new TypeError("Failed to fetch");
    };
    const asking = new Client(server.url, { fetch }).think("7-3").result();
    await expect(asking).rejects.toMatchObject({ name: "ServerUnreachable", neverConnected: false });
    expect(tries).toBe(1);
  });

  test("after nobody was there", async () => {
    const [server, port] = [new ReplayServer(), await freePort()];
    onTestFinished(() => server.stop());
    server.on(THINK, stream(DONE.bytes));
    const fetch: NonNullable<ClientOptions["fetch"]> = (input, init) =>
      globalThis.fetch(input, init).catch(async (error: unknown) => {
        await server.listen(port);
        throw error;
      });
    const client = new Client(`http://127.0.0.1:${port}`, { fetch, maxRetries: 1 });
    expect(await client.think("7-3").result()).toEqual(DONE.result);
  });

  test("none where nobody is wanted to be", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const refused = { name: "ServerUnreachable", message: `no server answers at ${url}`, neverConnected: true };
    await expect(new Client(url, { maxRetries: 0 }).think("7-3").result()).rejects.toMatchObject(refused);
    await expect(new Client(url, { maxRetries: 0 }).answerNow("any-1")).rejects.toMatchObject(refused);
  });
});

test("an error can be told by its class and its name", async ({ server }) => {
  const error: unknown = await new Client(server.url).extend("any-1", 1).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(RequestRefused);
  expect(error).toBeInstanceOf(ClientError);
  expect(String(error)).toBe("RequestRefused: HTTP 404");
});
