"""Server-sent events from lines of text (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """One event."""

    event: str
    data: str


def decode(lines: Iterable[str]) -> Iterator[ServerSentEvent]:
    """Events of a stream, given line by line without line ends; comments are dropped."""
    event, data = "message", list[str]()
    for line in lines:
        if not line:
            if data:
                yield ServerSentEvent(event=event or "message", data="\n".join(data))
            event, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "data":
            data.append(value)


def lines(pieces: Iterable[str]) -> Iterator[str]:
    """Lines of a text that comes in pieces. CR LF, LF and CR end one, and nothing else does."""
    rest = ""
    for piece in pieces:
        # A CR at the end of a piece may be the first half of a CR LF.
        *whole, rest = re.split(r"\r\n|\n|\r(?!\Z)", rest + piece)
        yield from whole
    if rest:
        yield rest.removesuffix("\r")
