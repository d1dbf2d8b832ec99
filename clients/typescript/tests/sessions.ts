/** Sessions at a replay server. */

import type { Event } from "../src/index.ts";
import { Client, type ClientOptions } from "../src/index.ts";
import type { Stream } from "../src/stream.ts";
import type { ReplayServer } from "./replay-server.ts";

export function think(server: ReplayServer, options: ClientOptions = {}): Stream {
  return new Client(server.url, { maxRetries: 0, ...options }).think("7-3");
}

/** Read a stream to its end, and append its events to `received`. */
export async function collect(events: AsyncIterable<Event>, received: Event[] = []): Promise<Event[]> {
  for await (const event of events) received.push(event);
  return received;
}
