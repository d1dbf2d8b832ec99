"""Server-sent events: as the standard says, however the bytes are cut up."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from anytime_client import sse
from anytime_client.sse import ServerSentEvent, decode
from anytime_server.events import Event
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter


def events(*lines: str) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in decode(lines)]


def over_http(*pieces: bytes) -> list[ServerSentEvent]:
    """Events of a response whose body arrives in these pieces."""
    return list(decode(sse.lines(httpx2.Response(200, content=iter(pieces)).iter_text())))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["event: done", "data: {}", ""], [("done", "{}")]),
        (["data: 1", ""], [("message", "1")]),
        (["data:1", ""], [("message", "1")]),
        (["data:  1 ", ""], [("message", " 1 ")]),  # one space alone belongs to the format
        (["data: a: b", ""], [("message", "a: b")]),
        (["data: 1", "data: 2", ""], [("message", "1\n2")]),
        (["data", ""], [("message", "")]),
        (["data:", "data:", ""], [("message", "\n")]),
        (["event: a", "event: b", "data: 1", ""], [("b", "1")]),
        (["data: 1", "event: late", ""], [("late", "1")]),
        (["event: a", "data: 1", "", "data: 2", ""], [("a", "1"), ("message", "2")]),
        (["event:", "data: 1", ""], [("message", "1")]),  # an empty name is none
        (["event: dropped", "", "data: 1", ""], [("message", "1")]),  # no data, no event
        ([": keep-alive", "", "", ":", "data: 1", ": within", ""], [("message", "1")]),
        (["id: 7", "retry: 10", "unknown: x", "Data: no", "data: 1", ""], [("message", "1")]),
        (["data: 1"], []),  # cut off before its end
        ([], []),
    ],
)
def test_what_the_standard_says(lines: list[str], expected: list[tuple[str, str]]) -> None:
    assert events(*lines) == expected


names = st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=10)
# Any text at all within JSON, which escapes what ends a line.
payloads = st.lists(st.tuples(names, st.text(alphabet=st.characters(exclude_categories=["Cs"]))), max_size=5)


@given(payloads, st.sampled_from(["\n", "\r\n"]), st.data())
def test_every_event_arrives_whole(
    payloads: list[tuple[str, str]], line_end: str, data: st.DataObject
) -> None:
    wire = "".join(
        f"event: {name}{line_end}data: {json.dumps(text)}{line_end}: comment{line_end}{line_end}"
        for name, text in payloads
    ).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert [(event.event, json.loads(event.data)) for event in over_http(*pieces)] == payloads


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n"))))
def test_no_lines_make_it_fail(lines: list[str]) -> None:
    for event in decode(lines):
        assert isinstance(event.data, str)


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\u000b", "\u000c", "\u001c"])
def test_only_the_standards_line_ends_end_a_line(server: Any, character: str) -> None:
    """What Python counts as a line end besides: in an event it is text as any other."""
    from anytime_client.client import Client

    text = f"one{character}two"
    done = {"type": "done", "answer": text, "stop": {}, "timing": {}}
    event = json.dumps(done, ensure_ascii=False)
    if character < " ":  # JSON has these escaped
        assert character not in event
    server.reply("/v1/anytime", f"event: done\ndata: {event}\n\n".encode())
    with Client(server.url) as client:
        assert list(client.think("hello")) == [done]


def test_a_recording_reads_the_same_at_every_byte_split(recording_done: bytes) -> None:
    whole = over_http(recording_done)
    assert [event.event for event in whole] == (
        ["started"] + ["thinking"] * 6 + ["answer.started"] + ["answer.delta"] * 8 + ["answer.done", "done"]
    )
    for split in range(1, len(recording_done)):
        assert over_http(recording_done[:split], recording_done[split:]) == whole
    assert over_http(*(recording_done[i : i + 1] for i in range(len(recording_done)))) == whole


def test_the_recordings_are_what_the_server_says_today(
    recording_done: bytes, recording_cancelled: bytes
) -> None:
    for event in over_http(recording_done) + over_http(recording_cancelled):
        said = TypeAdapter(Event).validate_json(event.data)
        assert said.type == event.event
        assert json.loads(said.model_dump_json()) == json.loads(event.data)
