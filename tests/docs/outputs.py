"""Whether a command printed what the documentation shows.

Texts are compared as they are. Of server-sent events and of JSON only the shape is: the types of the events
in their order, and the keys. How many pieces a text comes in depends on how busy the machine is, so pieces in
a row count as one. In all of them `...` stands for anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

ANYTHING = "..."
PIECES = ("thinking", "answer.delta")


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
    """Whether both have the same keys in the same order; events, which are tuples, the same type."""
    match shown, printed:
        case (shown_type, shown_data), (printed_type, printed_data):
            return shown_type == printed_type and _alike(shown_data, printed_data)
        case dict(), dict():
            return list(shown) == list(printed) and all(_alike(shown[key], printed[key]) for key in shown)
        case _:
            return not isinstance(shown, dict)


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
            events.append((fields.get("event"), _parsed(data) if data.startswith("{") else data))
        elif block.startswith(ANYTHING):
            events.append(ANYTHING)
    return events


def _last_index(events: Sequence[Any]) -> int:
    """Where the last event stands that is shown, with or without `...` after it; -1 for none."""
    return max((number for number, event in enumerate(events) if event != ANYTHING), default=-1)


def _last_type(events: Sequence[Any]) -> str | None:
    last = _last_index(events)
    return None if last < 0 else events[last][0]


def _parsed(text: str) -> Any:
    return json.loads(re.sub(r"\{\.\.\.\}|\[\.\.\.\]", f'"{ANYTHING}"', text))
