"""Strings that end a text, found as the text arrives."""

from __future__ import annotations

from collections.abc import Collection


def num_begun(text: str, stops: Collection[str]) -> int:
    """Characters at the end of a text that may be the beginning of one of these strings."""
    longest = max(map(len, stops), default=1) - 1
    for num in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-num:]) for stop in stops):
            return num
    return 0
