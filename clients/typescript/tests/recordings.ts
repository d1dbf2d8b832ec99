/** What servers sent, and what a client is to make of it. Shared with the Python client. */

import { readdirSync, readFileSync } from "node:fs";

const FOLDER = new URL("../../../tests/clients/recordings/", import.meta.url);

export interface Recording {
  name: string;
  bytes: Uint8Array;
  events: { type: string }[];
  result: object | null;
  error: { code: string; message: string; field: string | null } | null;
}

function read(name: string): Recording {
  const expected = JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8"));
  return { name, bytes: readFileSync(new URL(`${name}.sse`, FOLDER)), ...expected };
}

export const RECORDINGS: Recording[] = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".sse"))
  .map((file) => read(file.slice(0, -".sse".length)));

/** One that ended well, keep-alive comments included. */
export const DONE: Recording = read("done");
/** One that somebody cancelled. */
export const CANCELLED: Recording = read("cancelled");

/** The events of a recording as they were sent, each with its blank line. */
export function wireEvents({ bytes }: Recording): string[] {
  const blocks = new TextDecoder().decode(bytes).split("\n\n");
  return blocks.filter((block) => block.startsWith("event:")).map((block) => `${block}\n\n`);
}

/** The first event of a session, and its name. */
export const STARTED: string = wireEvents(DONE)[0] ?? "";
export const ID: string = JSON.parse(STARTED.split("data: ")[1] ?? "").id;
