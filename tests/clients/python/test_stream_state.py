"""Parsing streams: recordings of real servers, events of later versions, and invalid data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_client.errors import SessionFailed, StreamInterrupted
from anytime_client.events import AnswerDelta, AnswerDone, Event, Started, Thinking, UnknownEvent
from anytime_client.stream_state import StreamState
from anytime_server.api.native import events as server_events
from pydantic import TypeAdapter

from .conftest import Recording


def parse(*chunks: bytes) -> tuple[list[Event], StreamState, SessionFailed | None]:
    state, events = StreamState(), list[Event]()
    try:
        for chunk in chunks:
            events.extend(state.feed(chunk))
    except SessionFailed as error:
        return events, state, error
    return events, state, None


def as_sent(events: list[Event]) -> list[dict[str, Any]]:
    return [json.loads(event.model_dump_json(exclude_unset=True)) for event in events]


def wire(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def test_recording_gives_the_expected_events_and_result(recording: Recording) -> None:
    events, state, error = parse(recording.wire)
    assert as_sent(events) == recording.events
    if recording.error is None:
        assert error is None
        assert state.result().model_dump(mode="json") == recording.result
    else:
        assert error is not None
        assert {"code": error.code, "message": str(error), "field": error.field} == recording.error
        with pytest.raises(StreamInterrupted, match="closed before"):
            state.result()


def test_recording_gives_the_same_events_at_every_split(recording: Recording) -> None:
    whole, state, error = parse(recording.wire)
    for split in range(1, len(recording.wire)):
        events, received, failed = parse(recording.wire[:split], recording.wire[split:])
        assert events == whole
        assert received.thinking == state.thinking
        assert (received.done, str(failed)) == (state.done, str(error))
    bytewise = parse(*(recording.wire[i : i + 1] for i in range(len(recording.wire))))
    assert bytewise[0] == whole


def test_recordings_match_the_servers_current_events(recording: Recording) -> None:
    error = [] if recording.error is None else [{"type": "error", "error": recording.error}]
    for event in recording.events + error:
        parsed = TypeAdapter(server_events.Event).validate_python(event)
        assert json.loads(parsed.model_dump_json()) == event


def test_state_includes_each_event_when_it_is_yielded(early_answers: Recording) -> None:
    state, thinking, num_answers = StreamState(), "", 0
    for event in state.feed(early_answers.wire):
        thinking += event.text if isinstance(event, Thinking) else ""
        num_answers += isinstance(event, AnswerDone)
        assert state.id == early_answers.id
        assert (state.thinking, len(state.answers)) == (thinking, num_answers)
    assert num_answers == len(early_answers.result["answers"]) > 1  # type: ignore[index]


def test_answers_of_a_result_are_sorted_by_thinking_tokens(early_answers: Recording) -> None:
    first, second, *rest = [e for e in early_answers.events if e["type"] == "answer.done"]
    before = [e for e in early_answers.events if not e["type"].startswith(("answer", "done"))]
    _, state, _ = parse(wire(*before, second, first, *rest, early_answers.events[-1]))
    assert [answer.index for answer in state.answers] == [second["index"], first["index"]] + [
        answer["index"] for answer in rest
    ]
    assert [answer.at_tokens for answer in state.result().answers] == sorted(
        answer["at_tokens"] for answer in [first, second, *rest]
    )


def test_data_after_done_is_ignored(done: Recording) -> None:
    events, _, error = parse(done.wire + b"data: nonsense\n\n")
    assert (as_sent(events), error) == (done.events, None)


def test_unknown_event_type_becomes_an_unknown_event() -> None:
    events, _, _ = parse(wire({"type": "news", "x": [1]}))
    assert events == [UnknownEvent(raw={"type": "news", "x": [1]})]


def test_unknown_fields_and_causes_are_kept(done: Recording) -> None:
    started, *_, last = done.events
    last = last | {"stop": last["stop"] | {"cause": "boredom"}, "more": 1}
    events, state, _ = parse(wire(started | {"more": {"x": 1}}, last))
    match events:
        case [Started(id=id) as first, _]:
            assert (id, first.model_extra) == (done.id, {"more": {"x": 1}})
        case _:
            pytest.fail("the first event is not `started`")
    assert state.result().stop.cause == "boredom"


def test_events_match_by_class(done: Recording) -> None:
    events, _, _ = parse(done.wire)
    text = ""
    for event in events:
        match event:
            case AnswerDelta(text=more):
                text += more
            case _:
                pass
    assert text == done.events[-1]["answer"]


def test_error_event_without_code_and_field() -> None:
    _, _, error = parse(wire({"type": "error", "error": {"message": "no"}}))
    assert error is not None
    assert (str(error), error.code, error.field) == ("no", None, None)


def test_done_before_started_interrupts(done: Recording) -> None:
    with pytest.raises(StreamInterrupted, match="`done` before `started`"):
        parse(wire(done.events[-1]))


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
def test_invalid_event_interrupts(data: str, cancelled: Recording) -> None:
    state = StreamState()
    list(state.feed(wire(cancelled.events[0], {"type": "thinking", "text": "7", "total_tokens": 1})))
    with pytest.raises(StreamInterrupted, match="sent an invalid event") as raised:
        list(state.feed(f"data: {data}\n\n".encode()))
    assert (raised.value.id, raised.value.thinking, raised.value.answers) == (cancelled.id, "7", ())
