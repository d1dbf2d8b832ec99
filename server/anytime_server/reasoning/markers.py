"""Markers in text that is not complete yet."""

from __future__ import annotations

from collections.abc import Collection


def num_begun(text: str, markers: Collection[str]) -> int:
    """Characters at the end of a text that may be the beginning of one of these markers."""
    longest = max(map(len, markers), default=1) - 1
    for num in range(min(longest, len(text)), 0, -1):
        if any(marker.startswith(text[-num:]) for marker in markers):
            return num
    return 0
