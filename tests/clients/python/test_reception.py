"""Streams as they are received: recordings of real servers, and what no server of ours would send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_client.errors import SessionFailed, StreamInterrupted
from anytime_client.events import AnswerDelta, AnswerDone, Event, Started, Thinking, UnknownEvent
from anytime_client.reception import Reception
from anytime_server.api.native import events as server_events
from pydantic import TypeAdapter

from .conftest import Recording


def read(*pieces: bytes) -> tuple[list[Event], Reception, SessionFailed | None]:
    reception, events = Reception(), list[Event]()
    try:
        for piece in pieces:
            events.extend(reception.read(piece))
    except SessionFailed as error:
        return events, reception, error
    return events, reception, None


def as_sent(events: list[Event]) -> list[dict[str, Any]]:
    return [json.loads(event.model_dump_json(exclude_unset=True)) for event in events]


def wire(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def test_a_recording_says_what_was_sent(recording: Recording) -> None:
    events, reception, error = read(recording.wire)
    if recording.error is None:
        assert error is None
        assert as_sent(events) == recording.events
        assert reception.result().model_dump(mode="json") == recording.result
    else:
        # The events before the error were yielded, too, one by one.
        assert error is not None
        assert (error.code, str(error), error.field) == (
            recording.error["code"],
            recording.error["message"],
            recording.error["field"],
        )
        with pytest.raises(StreamInterrupted, match="left before"):
            reception.result()


def test_a_recording_reads_the_same_at_every_byte_split(recording: Recording) -> None:
    whole, reception, error = read(recording.wire)
    for split in range(1, len(recording.wire)):
        events, received, failed = read(recording.wire[:split], recording.wire[split:])
        assert events == whole
        assert received.thinking == reception.thinking
        assert (received.done, str(failed)) == (reception.done, str(error))
    bytewise = read(*(recording.wire[i : i + 1] for i in range(len(recording.wire))))
    assert bytewise[0] == whole


def test_the_recordings_are_what_the_server_says_today(recording: Recording) -> None:
    error = [] if recording.error is None else [{"type": "error", "error": recording.error}]
    for event in recording.events + error:
        said = TypeAdapter(server_events.Event).validate_python(event)
        assert json.loads(said.model_dump_json()) == event


def test_it_knows_what_has_come_at_every_event(ladder: Recording) -> None:
    reception, thinking, num_answers = Reception(), "", 0
    for event in reception.read(ladder.wire):
        thinking += event.text if isinstance(event, Thinking) else ""
        num_answers += isinstance(event, AnswerDone)
        assert reception.id == ladder.id
        assert (reception.thinking, len(reception.answers)) == (thinking, num_answers)
    assert num_answers == len(ladder.result["answers"]) > 1  # type: ignore[index]


def test_answers_of_a_result_are_in_the_order_of_their_thinking(ladder: Recording) -> None:
    first, second, *rest = [e for e in ladder.events if e["type"] == "answer.done"]
    before = [e for e in ladder.events if not e["type"].startswith(("answer", "done"))]
    _, reception, _ = read(wire(*before, second, first, *rest, ladder.events[-1]))
    assert [answer.index for answer in reception.answers] == [second["index"], first["index"]] + [
        answer["index"] for answer in rest
    ]
    assert [answer.at_tokens for answer in reception.result().answers] == sorted(
        answer["at_tokens"] for answer in [first, second, *rest]
    )


def test_nothing_is_read_after_done(done: Recording) -> None:
    events, _, error = read(done.wire + b"data: nonsense\n\n")
    assert (as_sent(events), error) == (done.events, None)


def test_events_of_a_later_version_pass_through() -> None:
    events, _, _ = read(wire({"type": "news", "x": [1]}))
    assert events == [UnknownEvent(raw={"type": "news", "x": [1]})]


def test_fields_and_words_of_a_later_version_are_no_error(done: Recording) -> None:
    started, *_, last = done.events
    last = last | {"stop": last["stop"] | {"cause": "boredom"}, "more": 1}
    events, reception, _ = read(wire(started | {"more": {"x": 1}}, last))
    match events:
        case [Started(id=id) as first, _]:
            assert (id, first.model_extra) == (done.id, {"more": {"x": 1}})
        case _:
            pytest.fail("no started")
    assert reception.result().stop.cause == "boredom"


def test_events_are_told_apart_by_their_class(done: Recording) -> None:
    events, _, _ = read(done.wire)
    text = ""
    for event in events:
        match event:
            case AnswerDelta(text=more):
                text += more
            case _:
                pass
    assert text == done.events[-1]["answer"]


def test_an_error_need_not_be_complete() -> None:
    _, _, error = read(wire({"type": "error", "error": {"message": "no"}}))
    assert error is not None
    assert (str(error), error.code, error.field) == ("no", None, None)


def test_an_answer_of_a_session_that_never_started_interrupts(done: Recording) -> None:
    with pytest.raises(StreamInterrupted, match="had not started"):
        read(wire(done.events[-1]))


@pytest.mark.parametrize(
    "data",
    [
        "{",
        "[]",
        "1",
        "null",
        "{}",
        '{"type": 1}',
        "[" * 100_000,
        '{"type": []}',
        '{"type": "thinking"}',
        '{"type": "error"}',
        '{"type": "error", "error": "no"}',
        '{"type": "done", "stop": {}}',
    ],
)
def test_what_is_no_event_interrupts(data: str, cancelled: Recording) -> None:
    reception = Reception()
    list(reception.read(wire(cancelled.events[0], {"type": "thinking", "text": "7", "total_tokens": 1})))
    with pytest.raises(StreamInterrupted, match="sent what is no event") as raised:
        list(reception.read(f"data: {data}\n\n".encode()))
    assert (raised.value.id, raised.value.thinking, raised.value.answers) == (cancelled.id, "7", ())
