/** A server that answers as it is told to, over real sockets. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test as base } from "vitest";

/** The route of a session. */
export const THINK = "POST /v1/anytime";

export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
}

/** Answers a request; `gone` resolves when its connection has been closed. */
export type Reply = (response: ServerResponse, gone: Promise<void>) => void | Promise<void>;

export class ReplayServer {
  url = "";
  /** In the order of coming. */
  readonly requests: Seen[] = [];
  readonly #replies = new Map<string, Reply[]>();
  readonly #server = createServer((request, response) => this.#answer(request, response));

  /** Answer requests for "METHOD /path" with these in turn, and all further ones with the last. */
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
    const gone = new Promise<void>((resolve) => response.once("close", resolve));
    let body = "";
    for await (const piece of request.setEncoding("utf8")) body += piece;
    const { method = "", url: path = "", headers } = request;
    this.requests.push({ method, path, headers, body });
    const replies = this.#replies.get(`${method} ${path}`) ?? [refuse(404, "")];
    const reply = replies.length > 1 ? replies.shift() : replies[0];
    await reply?.(response, gone);
  }
}

type Piece = string | Uint8Array;

/** A stream of these pieces, to its end. */
export function stream(...pieces: Piece[]): Reply {
  return (response) => {
    begin(response, ...pieces);
    response.end();
  };
}

/** A stream of these pieces whose connection then breaks. */
export function brokenStream(...pieces: Piece[]): Reply {
  return (response) => {
    begin(response, ...pieces);
    response.write("", () => response.destroy());
  };
}

/** Answer with a stream that stays open; gives a promise of the client's going away. */
export function hold(server: ReplayServer, ...pieces: string[]): Promise<void> {
  return new Promise((resolve) => {
    server.on(THINK, (response, gone) => {
      begin(response, ...pieces);
      gone.then(resolve);
    });
  });
}

/** The head of a stream, and its first pieces. */
export function begin(response: ServerResponse, ...pieces: Piece[]): void {
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
  response.flushHeaders();
  for (const piece of pieces) response.write(piece);
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

/** Tests with a `server` of their own. */
export const test = base.extend<{ server: ReplayServer }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are wanted from the pattern
  server: async ({}, use) => {
    const server = new ReplayServer();
    await server.listen();
    await use(server);
    await server.stop();
  },
});
