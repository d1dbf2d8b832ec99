/** Parsing streams: recordings of real servers, events of later versions, and invalid data. */

import { expect, test } from "vitest";
import { SessionFailed, StreamInterrupted } from "../src/errors.ts";
import type { Event } from "../src/events.ts";
import { StreamState } from "../src/stream-state.ts";
import { DONE, RECORDINGS, wireEvents } from "./recordings.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const wire = (raw: unknown) => bytes(`data: ${JSON.stringify(raw)}\n\n`);

function parse(...chunks: Uint8Array[]): { state: StreamState; events: Event[]; error: unknown } {
  const state = new StreamState();
  const events: Event[] = [];
  try {
    for (const chunk of chunks) for (const event of state.feed(chunk)) events.push(event);
    return { state, events, error: null };
  } catch (error) {
    return { state, events, error };
  }
}

test.each(RECORDINGS)("recording $name, split at every byte", (recording) => {
  const { bytes: all } = recording;
  const splits = Array.from({ length: all.length + 1 }, (_, i) => [all.subarray(0, i), all.subarray(i)]);
  const bytewise = Array.from(all, (byte) => Uint8Array.of(byte));
  for (const chunks of [bytewise, ...splits]) {
    const { state, events, error } = parse(...chunks);
    expect(events).toEqual(recording.events);
    expect(state.result).toEqual(recording.result);
    if (recording.error) {
      expect(error).toBeInstanceOf(SessionFailed);
      const { code, field, message } = error as SessionFailed;
      expect({ code, field, message }).toEqual(recording.error);
    } else {
      expect(error).toBeNull();
    }
  }
});

test("data after done is ignored", () => {
  const { events, error } = parse(bytes(new TextDecoder().decode(DONE.bytes) + wireEvents(DONE)[0]));
  expect(events.at(-1)?.type).toBe("done");
  expect(events).toEqual(DONE.events);
  expect(error).toBeNull();
});

test("unknown event types become unknown events", () => {
  const raw = { type: "news", of: { what: 1 } };
  const { events } = parse(wire(raw), wire({ type: "toString" }), DONE.bytes);
  expect(events.slice(0, 2)).toEqual([
    { type: "unknown", raw },
    { type: "unknown", raw: { type: "toString" } },
  ]);
  expect(events.slice(2)).toEqual(DONE.events);
});

test("unknown fields are ignored", () => {
  const { events } = parse(wire({ type: "thinking", text: "x", total_tokens: 1, mood: "good" }));
  expect(events).toMatchObject([{ type: "thinking", text: "x" }]);
});

test("the answers of a result are sorted, the final one last", () => {
  const answer = { text: "4", answer_tokens: 1, confidence: 1, finish_reason: "stop" };
  const { state } = parse(
    wire({ type: "started", id: "any-1", model: "m", budget: { tokens: 9, deadline_ms: null }, prompt_tokens: 1 }),
    wire({ type: "answer.done", index: 1, at_tokens: 8, provisional: true, ...answer }),
    wire({ type: "answer.done", index: 2, at_tokens: 4, provisional: false, ...answer }),
    wire({ type: "answer.done", index: 0, at_tokens: 2, provisional: true, ...answer }),
    wire({ type: "done", id: "any-1", stop: {}, answer: "4", usage: {}, timing: {}, continuation: null }),
  );
  expect(state.answers.map(({ index }) => index)).toEqual([1, 2, 0]);
  expect(state.result?.answers.map(({ index }) => index)).toEqual([0, 1, 2]);
  expect(state.result?.answers[0]).not.toHaveProperty("type");
});

test.each([
  "{",
  "",
  "null",
  "[]",
  "1",
  "{}",
  '{"type": 1}',
  '{"type": "thinking"}',
  '{"type": "thinking", "text": null, "total_tokens": 1}',
  '{"type": "started", "id": 1, "model": "m", "budget": {}, "prompt_tokens": 1}',
  '{"type": "done", "id": "any-1", "stop": null, "answer": "4", "usage": {}, "timing": {}}',
  '{"type": "done", "id": "any-1", "stop": {}, "answer": "4", "usage": {}, "timing": {}}',
  '{"type": "error"}',
  '{"type": "error", "error": {}}',
  '{"type": "error", "error": []}',
])("an invalid event interrupts the session: %s", (data) => {
  const { events, error } = parse(bytes(`event: done\ndata: ${data}\n\n`));
  expect(error).toBeInstanceOf(StreamInterrupted);
  expect(events).toEqual([]);
});

test("an error event may have no code", () => {
  const { error } = parse(wire({ type: "error", error: { message: "no more" } }));
  expect(error).toMatchObject({ name: "SessionFailed", message: "no more", code: null, field: null });
});

test("an interruption carries what was received", () => {
  const { state, error } = parse(bytes(wireEvents(DONE).slice(0, 3).join("")), bytes("data: {\n\n"));
  expect(state.thinking).not.toBe("");
  expect(error).toMatchObject({ id: state.started?.id, thinking: state.thinking, answers: [] });
});
