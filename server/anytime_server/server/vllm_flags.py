"""Flags of the form `--vllm.KEY VALUE` whose keys are vLLM's, taken from the command line.

vLLM's parser is not at hand here, so that a flag has all words up to the next one as its values.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

PREFIX = "--vllm."


def take_passed_through(
    argv: Sequence[str], *, own_names: Collection[str]
) -> tuple[list[str], dict[str, Any]]:
    """Split the command line.

    Args:
        own_names: fields of our own options, which stay, under either spelling.

    Returns:
        The arguments that stay, and the values of vLLM's own options by name, with underscores: texts, lists
        of texts, booleans for switches, and tables for keys with dots.
    """
    waiting, stay, passed = deque(argv), list[str](), dict[str, Any]()
    while waiting:
        word = waiting.popleft()
        if not word.startswith(PREFIX):
            stay.append(word)
            continue
        key, equals, value = word.removeprefix(PREFIX).partition("=")
        name, *path = key.split(".")
        name = name.replace("-", "_")
        if name in own_names:
            stay.append(f"{PREFIX}{name.replace('_', '-')}{equals}{value}")
            continue
        values = [value] if equals else _take_values(waiting)
        if not values and name.startswith("no_"):
            name, values = name.removeprefix("no_"), ["false"]
        if path:
            _put(passed, [name, *path], values)
        else:
            passed[name] = values if len(values) > 1 else values[0] if values else True
    return stay, passed


def _take_values(waiting: deque[str]) -> list[str]:
    values: list[str] = []
    while waiting and (not waiting[0].startswith("-") or re.fullmatch(r"-\d[\d.]*", waiting[0])):
        values.append(waiting.popleft())
    return values


def _put(table: dict[str, Any], path: list[str], values: list[str]) -> None:
    """Set a value within tables, as vLLM's own flags with dots do: `+` at the end for elements of a list."""
    *outer, last = path
    for name in outer:
        inner = table.get(name)
        if not isinstance(inner, dict):
            inner = table[name] = dict[str, Any]()
        table = inner
    if last.endswith("+"):
        table.setdefault(last[:-1], []).extend(part for value in values for part in value.split(","))
    else:
        table[last] = _json(values[0]) if values else True


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
