/** A server that sends the replies it was given, over real sockets. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test as base } from "vitest";

/** The route that starts a session. */
export const THINK = "POST /v1/anytime";

export interface ReceivedRequest {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
}

/** Answers a request; `disconnected` resolves when the connection is closed. */
export type Reply = (response: ServerResponse, disconnected: Promise<void>) => void | Promise<void>;

export class ReplayServer {
  url = "";
  /** In the order received. */
  readonly requests: ReceivedRequest[] = [];
  readonly #replies = new Map<string, Reply[]>();
  readonly #server = createServer((request, response) => this.#answer(request, response));

  /** Answer requests for "METHOD /path" with the replies in turn; the last one is repeated. */
  on(route: string, ...replies: Reply[]): void {
    this.#replies.set(route, replies);
  }

  async listen(port = 0): Promise<void> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#server.listening) await once(this.#server, "close");
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const disconnected = new Promise<void>((resolve) => response.once("close", resolve));
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    const { method = "", url: path = "", headers } = request;
    this.requests.push({ method, path, headers, body });
    const replies = this.#replies.get(`${method} ${path}`) ?? [refuse(404, "")];
    const reply = replies.length > 1 ? replies.shift() : replies[0];
    await reply?.(response, disconnected);
  }
}

type Chunk = string | Uint8Array;

/** An event stream of the given chunks. */
export function stream(...chunks: Chunk[]): Reply {
  return (response) => {
    begin(response, ...chunks);
    response.end();
  };
}

/** An event stream of the given chunks, whose connection then breaks. */
export function brokenStream(...chunks: Chunk[]): Reply {
  return (response) => {
    begin(response, ...chunks);
    response.write("", () => response.destroy());
  };
}

/** Answer with a stream that stays open; the promise resolves when the client disconnects. */
export function hold(server: ReplayServer, ...chunks: string[]): Promise<void> {
  return new Promise((resolve) => {
    server.on(THINK, (response, disconnected) => {
      begin(response, ...chunks);
      disconnected.then(resolve);
    });
  });
}

/** Send the headers and the first chunks of an event stream. */
export function begin(response: ServerResponse, ...chunks: Chunk[]): void {
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
  response.flushHeaders();
  for (const chunk of chunks) response.write(chunk);
}

export function refuse(status: number, body: string, headers: Record<string, string> = {}): Reply {
  return (response) => {
    response.writeHead(status, headers);
    response.end(body);
  };
}

export function json(body: unknown, status = 200): Reply {
  return refuse(status, JSON.stringify(body), { "Content-Type": "application/json" });
}

/** `test` with a replay server as its fixture. */
export const test = base.extend<{ server: ReplayServer }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names of the fixtures from the pattern
  server: async ({}, use) => {
    const server = new ReplayServer();
    await server.listen();
    await use(server);
    await server.stop();
  },
});
