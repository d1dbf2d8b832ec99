"""Compares the output of a command with the output that the documentation shows.

Texts, JSON and server-sent events must be equal, except for the values of `VOLATILE` keys, which vary between
runs. Consecutive events in `PIECES` count as one, because their number depends on the machine's load. `...`
matches anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ANYTHING = "..."
PIECES = ("thinking", "answer.delta")
VOLATILE = {"id", "created", "timing", "continuation", "confidence", "cached_tokens", "request_id", "version"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A server-sent event."""

    type: str | None
    data: Any


def matches(shown: str, printed: str) -> bool:
    """Whether the output `printed` matches the documented output `shown`."""
    if re.search(r"^(event|data):", shown, re.MULTILINE):
        return _in_order(_events(shown), _events(printed))
    if shown.lstrip().startswith("{"):
        return _alike(_parsed(shown), _parsed(printed))
    pattern = re.escape(shown.strip()).replace(re.escape(ANYTHING), ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def _in_order(shown: Sequence[Any], printed: Sequence[Any]) -> bool:
    """Whether the events match in order; `...` matches any number of events."""
    if not shown:
        return not printed
    if shown[0] == ANYTHING:
        return any(_in_order(shown[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and _alike(shown[0], printed[0]) and _in_order(shown[1:], printed[1:])


def _alike(shown: Any, printed: Any) -> bool:
    """Whether both are equal, keys in the same order, apart from volatile values."""
    match shown, printed:
        case Event(type=type), Event() if type in PIECES:
            return printed.type == type and list(shown.data) == list(printed.data)
        case Event(), Event():
            return shown.type == printed.type and _alike(shown.data, printed.data)
        case dict(), dict():
            return list(shown) == list(printed) and all(
                key in VOLATILE or _alike(shown[key], printed[key]) for key in shown
            )
        case list(), list():
            return len(shown) == len(printed) and all(map(_alike, shown, printed))
        case _:
            return shown in (ANYTHING, printed)


def _events(text: str) -> list[Any]:
    """The events with type and data, without comments."""
    events: list[Any] = []
    for block in re.split(r"\n{2,}", text.strip()):
        fields = dict(re.findall(r"^(event|data): (.*)$", block, re.MULTILINE))
        if fields:
            data = fields.get("data", "")
            if fields.get("event") in PIECES and _last_type(events) == fields["event"]:
                del events[_last_index(events) + 1 :]
                continue
            parsed = _parsed(data) if data.startswith("{") else data
            events.append(Event(type=fields.get("event"), data=parsed))
        elif block.startswith(ANYTHING):
            events.append(ANYTHING)
    return events


def _last_index(events: Sequence[Any]) -> int:
    """Index of the last event that is not `...`, or -1."""
    return max((number for number, event in enumerate(events) if event != ANYTHING), default=-1)


def _last_type(events: Sequence[Any]) -> str | None:
    last = _last_index(events)
    return None if last < 0 else events[last].type


def _parsed(text: str) -> Any:
    return json.loads(re.sub(r"\{\.\.\.\}|\[\.\.\.\]", f'"{ANYTHING}"', text))
