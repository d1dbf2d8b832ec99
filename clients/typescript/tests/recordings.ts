/** Recorded streams and what a client should parse from them. Shared with the Python client. */

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

/** A successful session, with keep-alive comments. */
export const DONE: Recording = read("done");
/** A session cancelled by another client. */
export const CANCELLED: Recording = read("cancelled");

/** The bytes of each event of a recording, as text. */
export function wireEvents({ bytes }: Recording): string[] {
  const blocks = new TextDecoder().decode(bytes).split("\n\n");
  return blocks.filter((block) => block.startsWith("event:")).map((block) => `${block}\n\n`);
}

/** The first event of a session, and the id in it. */
export const STARTED: string = wireEvents(DONE)[0] ?? "";
export const ID: string = JSON.parse(STARTED.split("data: ")[1] ?? "").id;
