"""Makes text from a server or a model safe to print on a terminal."""

from __future__ import annotations

# Bidirectional controls (embeddings, overrides, isolates): they reorder the text around them.
_BIDI = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_REMOVED = {code: None for code in [*range(0x20), *range(0x7F, 0xA0), *_BIDI] if chr(code) not in "\t\n"}


def without_controls(text: str) -> str:
    """The text without control characters other than tab and newline: it cannot command the terminal."""
    return text.translate(_REMOVED)


def one_line(text: str) -> str:
    """The text with every run of white space replaced by a single space."""
    return " ".join(text.split())
