/** Sessions to be tested, at a server that replays. */

import type { Event } from "../src/index.ts";
import { Client, type ClientOptions } from "../src/index.ts";
import type { Stream } from "../src/stream.ts";
import type { ReplayServer } from "./replay.ts";

export function ask(server: ReplayServer, options: ClientOptions = {}): Stream {
  return new Client(server.url, { maxRetries: 0, ...options }).think("7-3");
}

/** What a stream yields, collected into `came` as it comes. */
export async function all(events: AsyncIterable<Event>, came: Event[] = []): Promise<Event[]> {
  for await (const event of events) came.push(event);
  return came;
}
