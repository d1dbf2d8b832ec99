"""Text of others, made fit for a terminal."""

from __future__ import annotations

REORDERING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
CONTROL = {code: None for code in [*range(0x20), *range(0x7F, 0xA0), *REORDERING] if chr(code) not in "\t\n"}
"""For `str.translate()`: others may say anything, but not to the terminal itself."""


def one_line(text: str) -> str:
    """The text with its white space made single spaces."""
    return " ".join(text.split())
