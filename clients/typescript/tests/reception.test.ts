/** From bytes to events, state and result, against the recordings and what a bad server may send. */

import { expect, test } from "vitest";
import { SessionFailed, StreamInterrupted } from "../src/errors.ts";
import type { Event } from "../src/events.ts";
import { Reception } from "../src/reception.ts";
import { DONE, RECORDINGS, wireEvents } from "./recordings.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const sent = (raw: unknown) => bytes(`data: ${JSON.stringify(raw)}\n\n`);

function receive(...pieces: Uint8Array[]): { reception: Reception; events: Event[]; error: unknown } {
  const reception = new Reception();
  const events: Event[] = [];
  try {
    for (const piece of pieces) for (const event of reception.receive(piece)) events.push(event);
    return { reception, events, error: null };
  } catch (error) {
    return { reception, events, error };
  }
}

test.each(RECORDINGS)("the recording $name, cut at every byte", (recording) => {
  const { bytes: wire } = recording;
  const cuts = Array.from({ length: wire.length + 1 }, (_, i) => [wire.subarray(0, i), wire.subarray(i)]);
  const torn = Array.from(wire, (byte) => Uint8Array.of(byte));
  for (const pieces of [torn, ...cuts]) {
    const { reception, events, error } = receive(...pieces);
    expect(events).toEqual(recording.events);
    expect(reception.result).toEqual(recording.result);
    if (recording.error) {
      expect(error).toBeInstanceOf(SessionFailed);
      const { code, field, message } = error as SessionFailed;
      expect({ code, field, message }).toEqual(recording.error);
    } else {
      expect(error).toBeNull();
    }
  }
});

test("nothing is made of what follows done", () => {
  const { events, error } = receive(bytes(new TextDecoder().decode(DONE.bytes) + wireEvents(DONE)[0]));
  expect(events.at(-1)?.type).toBe("done");
  expect(events).toEqual(DONE.events);
  expect(error).toBeNull();
});

test("events of a later version come as they are", () => {
  const raw = { type: "news", of: { what: 1 } };
  const { events } = receive(sent(raw), sent({ type: "toString" }), DONE.bytes);
  expect(events.slice(0, 2)).toEqual([
    { type: "unknown", raw },
    { type: "unknown", raw: { type: "toString" } },
  ]);
  expect(events.slice(2)).toEqual(DONE.events);
});

test("fields of a later version are no error", () => {
  const { events } = receive(sent({ type: "thinking", text: "x", total_tokens: 1, mood: "good" }));
  expect(events).toMatchObject([{ type: "thinking", text: "x" }]);
});

test("a final answer is the last of a result, however they came", () => {
  const answer = { text: "4", answer_tokens: 1, confidence: 1, finish_reason: "stop" };
  const { reception } = receive(
    sent({ type: "started", id: "any-1", model: "m", budget: { tokens: 9, deadline_ms: null }, prompt_tokens: 1 }),
    sent({ type: "answer.done", index: 1, at_tokens: 8, provisional: true, ...answer }),
    sent({ type: "answer.done", index: 2, at_tokens: 4, provisional: false, ...answer }),
    sent({ type: "answer.done", index: 0, at_tokens: 2, provisional: true, ...answer }),
    sent({ type: "done", id: "any-1", stop: {}, answer: "4", usage: {}, timing: {}, continuation: null }),
  );
  expect(reception.answers.map(({ index }) => index)).toEqual([1, 2, 0]);
  expect(reception.result?.answers.map(({ index }) => index)).toEqual([0, 1, 2]);
  expect(reception.result?.answers[0]).not.toHaveProperty("type");
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
])("what is no event of a session interrupts it: %s", (data) => {
  const { events, error } = receive(bytes(`event: done\ndata: ${data}\n\n`));
  expect(error).toBeInstanceOf(StreamInterrupted);
  expect(events).toEqual([]);
});

test("an error may have no code", () => {
  const { error } = receive(sent({ type: "error", error: { message: "no more" } }));
  expect(error).toMatchObject({ name: "SessionFailed", message: "no more", code: null, field: null });
});

test("an interruption carries what had come", () => {
  const { reception, error } = receive(bytes(wireEvents(DONE).slice(0, 3).join("")), bytes("data: {\n\n"));
  expect(reception.thinking).not.toBe("");
  expect(error).toMatchObject({ id: reception.started?.id, thinking: reception.thinking, answers: [] });
});
