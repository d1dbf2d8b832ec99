"""The texts around the channels of families that write their answers in channels.

A channel begins with a header of special tokens and words, which says what follows. Knows no token ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """The part of an answer that a token belongs to."""

    TEXT = "text"
    """Text for the user, after which calls or more text may follow."""
    FINAL = "final"
    """Text for the user, at whose end the answer ends."""
    THINKING = "thinking"
    CALL = "call"
    NONE = "none"
    """Headers and ends, and whatever is between channels."""

    @property
    def is_text(self) -> bool:
        return self in (Part.TEXT, Part.FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTexts:
    """The tokens around the channels of one family, and what its headers say."""

    opens: tuple[str, ...]
    """Tokens that begin a header."""
    closes: tuple[str, ...]
    """Tokens that complete a header; may begin it, too."""
    ends: tuple[str, ...] = ()
    """Tokens that end a channel."""
    restarts: str = ""
    """The token which begins a header anew within a header; empty for none."""
    headers: Mapping[str, Part]
    """Regular expressions, and the part after a header in which each is found; the first found counts."""
    other_headers: Part | None
    """The part after all other headers; None where they are markers within a part."""
    has_calls: bool = True
    """Whether tool calls are channels; otherwise they are found in the text."""

    def part_after(self, header: str) -> Part | None:
        """The part that a complete header begins; None for a marker within a part."""
        if self.restarts:
            header = header.rpartition(self.restarts)[2]
        found = (part for pattern, part in self.headers.items() if re.search(pattern, header, re.DOTALL))
        return next(found, self.other_headers)
