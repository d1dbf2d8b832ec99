"""Server-sent events: as the standard says, however the bytes are cut up."""

from __future__ import annotations

import json

import pytest
from anytime_client.sse import Decoder
from hypothesis import given
from hypothesis import strategies as st


def events(*pieces: bytes) -> list[tuple[str, str]]:
    decoder = Decoder()
    return [(event.event, event.data) for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
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
        (["\ufeffdata: 1", ""], [("message", "1")]),
        (["\ufeff\ufeffdata: 1", ""], []),  # only the first is a byte order mark
        (["data: 1", "", "\ufeffdata: 2", ""], [("message", "1")]),  # nor is a later one
        (["data: \ufeff1", ""], [("message", "\ufeff1")]),
        (["data: 1"], []),  # cut off before its end
        ([], []),
    ],
)
def test_what_the_standard_says(lines: list[str], expected: list[tuple[str, str]], line_end: bytes) -> None:
    wire = b"".join(line.encode() + line_end for line in lines)
    assert events(wire) == expected
    for split in range(len(wire)):
        assert events(wire[:split], wire[split:]) == expected
    assert events(*(wire[i : i + 1] for i in range(len(wire)))) == expected


def test_an_event_is_told_as_soon_as_it_is_whole() -> None:
    """Also where a line may turn out to end in CR LF."""
    decoder = Decoder()
    assert [event.data for event in decoder.feed(b"data: 1\r\n\r")] == ["1"]
    assert [event.data for event in decoder.feed(b"\ndata: 2\n\n")] == ["2"]


def test_line_ends_may_be_mixed() -> None:
    assert events(b"data: 1\rdata: 2\ndata: 3\r\n\n") == [("message", "1\n2\n3")]


def test_a_piece_without_a_character_changes_nothing() -> None:
    """The first byte of a character of two, between the CR and the LF of a line's end, and nothing at all."""
    assert events(b"data: 1\r", b"", b"\n\r\n") == [("message", "1")]
    assert events(b"data: \xc3", b"", b"\xa9\n\n") == [("message", "é")]


def test_what_is_not_utf8_is_replaced() -> None:
    assert events(b"data: \xff\n\n") == [("message", "\ufffd")]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\u000b", "\u000c", "\u001c"])
def test_only_the_standards_line_ends_end_a_line(character: str) -> None:
    """What Python counts as a line end besides is text as any other."""
    assert events(f"data: one{character}two\n\n".encode()) == [("message", f"one{character}two")]


names = st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=10)
# Any text at all within JSON, which escapes what ends a line.
payloads = st.lists(st.tuples(names, st.text(alphabet=st.characters(exclude_categories=["Cs"]))), max_size=5)


@given(payloads, st.sampled_from(["\n", "\r\n", "\r"]), st.data())
def test_every_event_arrives_whole(
    payloads: list[tuple[str, str]], line_end: str, data: st.DataObject
) -> None:
    wire = "".join(
        f"event: {name}{line_end}data: {json.dumps(text)}{line_end}: comment{line_end}{line_end}"
        for name, text in payloads
    ).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert [(event, json.loads(text)) for event, text in events(*pieces)] == payloads


@given(st.lists(st.binary()))
def test_no_bytes_make_it_fail(pieces: list[bytes]) -> None:
    assert events(*pieces) == events(b"".join(pieces))
