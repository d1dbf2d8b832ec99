"""The decoder of server-sent events follows the standard, however the bytes are split."""

from __future__ import annotations

import json

import pytest
from anytime_client.sse import Decoder
from hypothesis import given
from hypothesis import strategies as st


def events(*chunks: bytes) -> list[tuple[str, str]]:
    decoder = Decoder()
    return [(event.event, event.data) for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["event: done", "data: {}", ""], [("done", "{}")]),
        (["data: 1", ""], [("message", "1")]),
        (["data:1", ""], [("message", "1")]),
        (["data:  1 ", ""], [("message", " 1 ")]),  # only one space is removed
        (["data: a: b", ""], [("message", "a: b")]),
        (["data: 1", "data: 2", ""], [("message", "1\n2")]),
        (["data", ""], [("message", "")]),
        (["data:", "data:", ""], [("message", "\n")]),
        (["event: a", "event: b", "data: 1", ""], [("b", "1")]),
        (["data: 1", "event: late", ""], [("late", "1")]),
        (["event: a", "data: 1", "", "data: 2", ""], [("a", "1"), ("message", "2")]),
        (["event:", "data: 1", ""], [("message", "1")]),  # an empty type is the default type
        (["event: dropped", "", "data: 1", ""], [("message", "1")]),  # an event needs data
        ([": keep-alive", "", "", ":", "data: 1", ": within", ""], [("message", "1")]),
        (["id: 7", "retry: 10", "unknown: x", "Data: no", "data: 1", ""], [("message", "1")]),
        (["\ufeffdata: 1", ""], [("message", "1")]),
        (["\ufeff\ufeffdata: 1", ""], []),  # only the first is removed as a byte order mark
        (["data: 1", "", "\ufeffdata: 2", ""], [("message", "1")]),  # a later one is not removed
        (["data: \ufeff1", ""], [("message", "\ufeff1")]),
        (["data: 1"], []),  # no blank line at the end
        ([], []),
    ],
)
def test_events_follow_the_standard(
    lines: list[str], expected: list[tuple[str, str]], line_end: bytes
) -> None:
    wire = b"".join(line.encode() + line_end for line in lines)
    assert events(wire) == expected
    for split in range(len(wire)):
        assert events(wire[:split], wire[split:]) == expected
    assert events(*(wire[i : i + 1] for i in range(len(wire)))) == expected


def test_event_is_returned_as_soon_as_it_is_complete() -> None:
    """A CR ends the line, even if the next chunk may begin with the LF of a CR LF."""
    decoder = Decoder()
    assert [event.data for event in decoder.feed(b"data: 1\r\n\r")] == ["1"]
    assert [event.data for event in decoder.feed(b"\ndata: 2\n\n")] == ["2"]


def test_mixed_line_ends() -> None:
    assert events(b"data: 1\rdata: 2\ndata: 3\r\n\n") == [("message", "1\n2\n3")]


def test_chunk_without_a_complete_character() -> None:
    """An empty chunk, also between CR and LF, and a chunk with half of a character."""
    assert events(b"data: 1\r", b"", b"\n\r\n") == [("message", "1")]
    assert events(b"data: \xc3", b"", b"\xa9\n\n") == [("message", "é")]


def test_invalid_utf8_is_replaced() -> None:
    assert events(b"data: \xff\n\n") == [("message", "\ufffd")]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\u000b", "\u000c", "\u001c"])
def test_other_line_separators_are_text(character: str) -> None:
    """Characters at which str.splitlines would split."""
    assert events(f"data: one{character}two\n\n".encode()) == [("message", f"one{character}two")]


names = st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=10)
# Any text, encoded as JSON, which escapes line ends.
payloads = st.lists(st.tuples(names, st.text(alphabet=st.characters(exclude_categories=["Cs"]))), max_size=5)


@given(payloads, st.sampled_from(["\n", "\r\n", "\r"]), st.data())
def test_events_survive_any_split(
    payloads: list[tuple[str, str]], line_end: str, data: st.DataObject
) -> None:
    wire = "".join(
        f"event: {name}{line_end}data: {json.dumps(text)}{line_end}: comment{line_end}{line_end}"
        for name, text in payloads
    ).encode()
    splits = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    chunks = [wire[start:end] for start, end in zip([0, *splits], [*splits, len(wire)], strict=True)]
    assert [(event, json.loads(text)) for event, text in events(*chunks)] == payloads


@given(st.lists(st.binary()))
def test_any_bytes_decode_the_same_when_split(chunks: list[bytes]) -> None:
    assert events(*chunks) == events(b"".join(chunks))
