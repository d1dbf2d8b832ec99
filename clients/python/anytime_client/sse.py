"""An incremental decoder of server-sent events (WHATWG HTML, section 9.2.6).

Knows nothing about the content of events. Ignores `id` and `retry`: this client does not reconnect.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_EVENT_CHARACTERS = 2**24
"""A longer event is refused: its parts are kept in memory until its end."""
LINE_OVERHEAD = 64
"""Added to the length of each line of data, so that empty lines are limited as well."""
_LINE_END = re.compile(r"\r\n|\n|\r")  # str.splitlines would split at other characters, too


class EventTooLong(ValueError):
    """An event of more than `MAX_EVENT_CHARACTERS`, or a line that long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """One event of the stream."""

    event: str
    data: str


class Decoder:
    """Turns chunks of bytes into events, each as soon as it is complete. An incomplete last event is dropped.

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
        """Parts of a line whose end has not been received."""
        self._event = ""
        self._data: list[str] = []
        self._num_line_characters = 0
        self._num_data_characters = 0

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """The events that the chunk completes; the chunk is decoded as they are iterated.

        Raises:
            EventTooLong: the server sends an event without an end.
        """
        for line in self._lines(self._utf8.decode(chunk)):
            if not line:
                if self._data:
                    yield ServerSentEvent(event=self._event or "message", data="\n".join(self._data))
                self._event, self._data, self._num_data_characters = "", [], 0
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                self._event = value
            elif field == "data":
                self._data.append(value)
                self._num_data_characters += len(value) + LINE_OVERHEAD
                self._require_end()

    def _lines(self, text: str) -> list[str]:
        if not text:
            return []
        if self._ended_in_cr:  # the line was returned at its CR; this may be the LF of a CR LF
            text = text.removeprefix("\n")
        self._ended_in_cr = text.endswith("\r")
        first, *others = _LINE_END.split(text)
        self._line.append(first)
        self._num_line_characters += len(first)
        if not others:
            self._require_end()
            return []
        *lines, rest = ["".join(self._line), *others]
        self._line, self._num_line_characters = [rest], len(rest)
        return lines

    def _require_end(self) -> None:
        if self._num_line_characters + self._num_data_characters > MAX_EVENT_CHARACTERS:
            raise EventTooLong(f"an event of more than {MAX_EVENT_CHARACTERS} characters")
