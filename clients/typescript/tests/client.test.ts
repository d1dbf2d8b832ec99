/** Requests: what is sent, errors of refusals, retries. */

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { describe, expect, onTestFinished } from "vitest";
import { Client, ClientError, type ClientOptions, RequestRefused, ServerUnreachable } from "../src/index.ts";
import { DONE } from "./recordings.ts";
import { json, ReplayServer, refuse, stream, THINK, test } from "./replay-server.ts";

const RETRY_AT_ONCE = { "Retry-After": "0" };

/** A port that no server listens on. */
async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

describe("a request", () => {
  test("has only the given options", async ({ server }) => {
    server.on(THINK, stream(DONE.bytes));
    await new Client(server.url).think("7-3 €", { budget: 6, model: undefined }).result();
    const [request] = server.requests;
    expect(JSON.parse(request?.body ?? "")).toEqual({
      messages: [{ role: "user", content: "7-3 €" }],
      budget: 6,
      stream: true,
    });
    expect(request?.headers["content-type"]).toBe("application/json");
    expect(request?.headers).not.toHaveProperty("authorization");
  });

  test("has every option under its name", async ({ server }) => {
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

  test("has the API key and the headers", async ({ server }) => {
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

  test("has a given Authorization header instead of the API key", async ({ server }) => {
    const headers = { authorization: "Basic x", "content-type": "text/plain" };
    server.on(THINK, stream(DONE.bytes));
    await new Client(server.url, { apiKey: "k", headers }).think("7-3").result();
    expect(server.requests[0]?.headers).toMatchObject({ authorization: "Basic x", "content-type": "application/json" });
  });

  test.for(["", "/", "/v1", "/v1/"])("goes to a URL that ends in %j", async (end, { server }) => {
    server.on("GET /v1/models", json({ data: [{ id: "m" }] }));
    expect(await new Client(server.url + end).models()).toEqual([{ id: "m" }]);
  });

  test("goes below the path of the URL, without its query and fragment", async ({ server }) => {
    server.on("GET /behind/a/proxy/v1/models", json({ data: [] }));
    expect(await new Client(new URL("/behind/a/proxy/?q#top", server.url)).models()).toEqual([]);
  });

  test("has the session id escaped in its path", async ({ server }) => {
    expect(await new Client(server.url).answerNow("../../x?")).toBe(false);
    expect(server.requests[0]?.path).toBe("/v1/anytime/..%2F..%2Fx%3F/answer");
  });
});

test.for(["localhost:8000", "ftp://localhost", "", "http://[bad"])("%j is not a valid URL", (url) => {
  expect(() => new Client(url)).toThrow(ServerUnreachable);
});

describe("an error response", () => {
  test("carries the server's error", async ({ server }) => {
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
    "with an unknown body carries the status: %j",
    async (body, { server }) => {
      server.on(THINK, refuse(502, body));
      const refused = { message: "HTTP 502", status: 502, code: null, field: null, requestId: null, retryAfterS: null };
      await expect(new Client(server.url).think("7-3").result()).rejects.toMatchObject(refused);
    },
  );

  test("is not reported for a body that breaks off", async ({ server }) => {
    server.on("GET /v1/models", (response) => {
      response.writeHead(200).write('{"data": [', () => response.destroy());
    });
    const broken = { name: "StreamInterrupted", message: `the connection to ${server.url} broke` };
    await expect(new Client(server.url).models()).rejects.toMatchObject(broken);
  });

  test("is not reported for a body that breaks off in a browser", async () => {
    const brokenBody = () =>
      new ReadableStream({
        start(body) {
          body.enqueue(new TextEncoder().encode('{"data": ['));
        },
        pull(body) {
          body.error(new TypeError("network error"));
        },
      });
    const client = new Client("http://127.0.0.1:8000", { fetch: async () => new Response(brokenBody()) });
    await expect(client.models()).rejects.toMatchObject({
      name: "StreamInterrupted",
      message: "the connection to http://127.0.0.1:8000 broke",
    });
  });

  test.for(["{}", "[]", '"x"', "<html>", ""])("is reported for invalid models: %j", async (body, { server }) => {
    server.on("GET /v1/models", refuse(200, body));
    await expect(new Client(server.url).models()).rejects.toMatchObject({ name: "ClientError" });
  });
});

describe("a retry", () => {
  test.for([429, 503])("follows a %i", async (status, { server }) => {
    server.on(THINK, refuse(status, "", RETRY_AT_ONCE), refuse(status, "", RETRY_AT_ONCE), stream(DONE.bytes));
    expect(await new Client(server.url).think("7-3").result()).toEqual(DONE.result);
    expect(server.requests).toHaveLength(3);
    expect(server.requests[2]).toEqual(server.requests[0]);
  });

  test.for([
    [0, 1],
    [1, 2],
    [2, 3],
  ] as const)("is made at most %i times: %i requests", async ([maxRetries, requests], { server }) => {
    server.on(THINK, refuse(503, "", RETRY_AT_ONCE));
    const result = new Client(server.url, { maxRetries }).think("7-3").result();
    await expect(result).rejects.toMatchObject({ status: 503 });
    expect(server.requests).toHaveLength(requests);
  });

  test.for([400, 404, 422, 500, 502, 504])("does not follow a %i", async (status, { server }) => {
    server.on(THINK, refuse(status, "", RETRY_AT_ONCE), stream(DONE.bytes));
    await expect(new Client(server.url).think("7-3").result()).rejects.toMatchObject({ status });
    expect(server.requests).toHaveLength(1);
  });

  test("is not made if the server asks for a long delay", async ({ server }) => {
    server.on(THINK, refuse(503, "", { "Retry-After": "3600" }), stream(DONE.bytes));
    await expect(new Client(server.url).think("7-3").result()).rejects.toMatchObject({ retryAfterS: 3600 });
    expect(server.requests).toHaveLength(1);
  });

  test("is not made if its delay passes the time-out", async ({ server }) => {
    server.on(THINK, refuse(503, "", { "Retry-After": "25" }), stream(DONE.bytes));
    const result = new Client(server.url, { timeoutS: 20 }).think("7-3").result();
    await expect(result).rejects.toMatchObject({ name: "RequestRefused", status: 503 });
    expect(server.requests).toHaveLength(1);
  });

  test("does not follow a connection that broke after the request was sent", async ({ server }) => {
    server.on(THINK, (response) => void response.destroy(), stream(DONE.bytes));
    const result = new Client(server.url).think("7-3").result();
    const broken = { name: "StreamInterrupted", message: `the connection to ${server.url} broke`, thinking: "" };
    await expect(result).rejects.toMatchObject(broken);
    expect(server.requests).toHaveLength(1);
  });

  test("does not follow a failure of unknown cause, as in browsers", async ({ server }) => {
    let attempts = 0;
    const fetch = async () => {
      attempts++;
      throw new TypeError("Failed to fetch");
    };
    const result = new Client(server.url, { fetch }).think("7-3").result();
    await expect(result).rejects.toMatchObject({ name: "ServerUnreachable", neverConnected: false });
    expect(attempts).toBe(1);
  });

  test("follows a refused connection", async () => {
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

  test("is not made with maxRetries 0", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const refused = { name: "ServerUnreachable", message: `no server answers at ${url}`, neverConnected: true };
    await expect(new Client(url, { maxRetries: 0 }).think("7-3").result()).rejects.toMatchObject(refused);
    await expect(new Client(url, { maxRetries: 0 }).answerNow("any-1")).rejects.toMatchObject(refused);
  });
});

test("errors have their class and name", async ({ server }) => {
  const error: unknown = await new Client(server.url).extend("any-1", 1).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(RequestRefused);
  expect(error).toBeInstanceOf(ClientError);
  expect(String(error)).toBe("RequestRefused: HTTP 404");
});
