"""Whether a command printed what the documentation shows.

Texts, JSON and server-sent events are compared as they are, but for what differs from run to run: values of
the keys in `VOLATILE`. How many pieces a text comes in depends on how busy the machine is, so pieces in a row
count as one. In all of them `...` stands for anything.
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
    """Whether `printed` is what was `shown`."""
    if re.search(r"^(event|data):", shown, re.MULTILINE):
        return _in_order(_events(shown), _events(printed))
    if shown.lstrip().startswith("{"):
        return _alike(_parsed(shown), _parsed(printed))
    pattern = re.escape(shown.strip()).replace(re.escape(ANYTHING), ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def _in_order(shown: Sequence[Any], printed: Sequence[Any]) -> bool:
    """Whether the events are alike one by one, where `...` is any number of them."""
    if not shown:
        return not printed
    if shown[0] == ANYTHING:
        return any(_in_order(shown[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and _alike(shown[0], printed[0]) and _in_order(shown[1:], printed[1:])


def _alike(shown: Any, printed: Any) -> bool:
    """Whether both are the same, with keys in the same order, but for what differs from run to run."""
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
    """Each event as its type and its data; what is no event, as comments are not, is left out."""
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
    """Where the last event stands that is shown, with or without `...` after it; -1 for none."""
    return max((number for number, event in enumerate(events) if event != ANYTHING), default=-1)


def _last_type(events: Sequence[Any]) -> str | None:
    last = _last_index(events)
    return None if last < 0 else events[last].type


def _parsed(text: str) -> Any:
    return json.loads(re.sub(r"\{\.\.\.\}|\[\.\.\.\]", f'"{ANYTHING}"', text))
