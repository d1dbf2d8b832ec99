/** The decoder of server-sent events follows the standard, however the bytes are split. */

import { expect, test } from "vitest";
import { Decoder, type ServerSentEvent } from "../src/sse.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function decode(...chunks: Uint8Array[]): ServerSentEvent[] {
  const decoder = new Decoder();
  return chunks.flatMap((chunk) => decoder.decode(chunk));
}

const CASES: [name: string, wire: string, events: [event: string, data: string][]][] = [
  ["an event with a type", "event: done\ndata: {}\n\n", [["done", "{}"]]],
  ["the type is message by default", "data: 1\n\n", [["message", "1"]]],
  ["an empty type is the default", "event\ndata: 1\n\n", [["message", "1"]]],
  ["no space after the colon", "data:1\n\n", [["message", "1"]]],
  ["only one space is removed", "data:  1 \n\n", [["message", " 1 "]]],
  ["several lines of data", "data: 1\ndata\ndata: 3\n\n", [["message", "1\n\n3"]]],
  [
    "empty data",
    "data\n\ndata:\n\n",
    [
      ["message", ""],
      ["message", ""],
    ],
  ],
  ["an event without data is dropped with its type", "event: a\n\ndata: 1\n\n", [["message", "1"]]],
  ["the last type of several", "event: a\nevent: b\ndata: 1\n\n", [["b", "1"]]],
  ["comments", ": ping\n\n:\ndata: 1\n:x\ndata: 2\n\n", [["message", "1\n2"]]],
  ["a colon in the value", "data: a: b\n\n", [["message", "a: b"]]],
  ["unknown fields", "id: 1\nretry: 10\nnews: x\nData: no\n data: no\ndata: 1\n\n", [["message", "1"]]],
  [
    "carriage returns",
    "event: a\rdata: 1\r\rdata: 2\r\r",
    [
      ["a", "1"],
      ["message", "2"],
    ],
  ],
  [
    "CR LF",
    "event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n",
    [
      ["a", "1"],
      ["message", "2"],
    ],
  ],
  [
    "mixed line ends",
    "data: 1\rdata: 2\ndata: 3\r\n\r\ndata: 4\n\r\n",
    [
      ["message", "1\n2\n3"],
      ["message", "4"],
    ],
  ],
  ["a byte order mark at the start", "\ufeffdata: 1\n\n", [["message", "1"]]],
  ["a byte order mark elsewhere", "data: 1\n\n\ufeffdata: 2\n\n", [["message", "1"]]],
  [
    "other line separators are text",
    "data: a\u2028b\u2029c\u0085d\u000be\n\n",
    [["message", "a\u2028b\u2029c\u0085d\u000be"]],
  ],
  ["characters of several bytes", "data: 42 € 🜚\n\n", [["message", "42 € 🜚"]]],
  ["an event without a blank line is dropped", "data: 1\n\ndata: 2\n", [["message", "1"]]],
  ["an incomplete line is dropped", "data: 1\n\ndata: 2", [["message", "1"]]],
];

test.each(CASES)("%s", (_, wire, events) => {
  const expected = events.map(([event, data]) => ({ event, data }));
  const whole = bytes(wire);
  expect(decode(whole)).toEqual(expected);
  expect(decode(...Array.from(whole, (byte) => Uint8Array.of(byte)))).toEqual(expected);
  for (let i = 0; i <= whole.length; i++) {
    expect(decode(whole.subarray(0, i), new Uint8Array(), whole.subarray(i))).toEqual(expected);
  }
});

test("an event is returned as soon as it is complete", () => {
  const decoder = new Decoder();
  expect(decoder.decode(bytes("data: 1\r"))).toEqual([]);
  expect(decoder.decode(bytes("\r"))).toEqual([{ event: "message", data: "1" }]);
  expect(decoder.decode(bytes("\ndata: 2\n\n"))).toEqual([{ event: "message", data: "2" }]);
});

test("invalid UTF-8 is replaced", () => {
  expect(decode(bytes("data: "), Uint8Array.of(0xff), bytes("\n\n"))).toEqual([{ event: "message", data: "\ufffd" }]);
});
