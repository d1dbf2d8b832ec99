"""Server-sent events from bytes that come in pieces (WHATWG HTML, section 9.2.6).

Knows nothing of what the events say. `id` and `retry` are for clients that reconnect, which these never do.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\n|\r")  # nothing else ends a line, whatever str.splitlines says


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """One event."""

    event: str
    data: str


class Decoder:
    """Bytes in, events out, as soon as they are whole. What is not whole at the end is dropped.

    >>> decoder = Decoder()
    >>> list(decoder.feed(b"event: done\\ndata: {}"))
    []
    >>> list(decoder.feed(b"\\n\\n"))
    [ServerSentEvent(event='done', data='{}')]
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._ended_in_cr = False
        self._line: list[str] = []
        """The beginning of a line whose end has not come, in pieces."""
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """The events that this piece makes whole; it is taken in as they are read."""
        for line in self._lines(self._utf8.decode(piece)):
            if not line:
                if self._data:
                    yield ServerSentEvent(event=self._event or "message", data="\n".join(self._data))
                self._event, self._data = "", []
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                self._event = value
            elif field == "data":
                self._data.append(value)

    def _lines(self, text: str) -> list[str]:
        if not text:
            return []
        if self._ended_in_cr:  # that line has been told; this may be the second half of its CR LF
            text = text.removeprefix("\n")
        self._ended_in_cr = text.endswith("\r")
        first, *others = _LINE_END.split(text)
        self._line.append(first)
        if not others:
            return []
        *lines, rest = ["".join(self._line), *others]
        self._line = [rest]
        return lines
