"""Readers of tool calls in formats that vLLM has no parser of text for.

Each takes one block of calls, with its markers, and gives all of its calls, or none if one of them is not
readable. Knows no tokens and no models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_LIST = re.compile(r"\[\s*\{.*\}\s*\]", re.DOTALL)
_NAMES, _ARGUMENTS = ("name", "tool_name"), ("arguments", "parameters")
_RECIPIENT = re.compile(r"\bto=functions\.([^\s<]+)")
_SOLAR_CALL = re.compile(
    r"<\|tool_call:name\|>(?P<name>[^<]+)<\|tool_call:args\|>(?P<arguments>.*?)<\|tool_call:end\|>", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    name: str
    arguments: str
    """Text of a JSON object."""


def read_json_list(block: str) -> list[ToolCall]:
    """Calls in a JSON list: `{"name": …, "arguments": {…}}`, under other names, or `{NAME: {…}}`.

    Arguments may be the text of a JSON object, too.
    """
    found = _LIST.search(block)
    entries: Any = [] if found is None else _json(found[0])
    calls = [_call(entry) for entry in entries] if isinstance(entries, list) else []
    return [call for call in calls if call is not None] if None not in calls else []


def read_harmony(block: str) -> list[ToolCall]:
    """The call of a message to a function: `… to=functions.NAME … <|message|>{…}`."""
    header, _, body = block.partition("<|message|>")
    recipient, body = _RECIPIENT.search(header), body.strip().removesuffix("<|call|>")
    if recipient is None or not isinstance(_json(body), dict):
        return []
    return [ToolCall(name=recipient[1], arguments=body)]


def read_solar(block: str) -> list[ToolCall]:
    """Calls between Solar-Open's markers: an id, a name and JSON arguments."""
    found = list(_SOLAR_CALL.finditer(block))
    if not all(isinstance(_json(match["arguments"]), dict) for match in found):
        return []
    return [ToolCall(name=match["name"].strip(), arguments=match["arguments"].strip()) for match in found]


def _call(entry: Any) -> ToolCall | None:
    if not isinstance(entry, dict):
        return None
    name, arguments = _first(entry, _NAMES), _first(entry, _ARGUMENTS)
    if name is None and len(entry) == 1:
        [(name, arguments)] = entry.items()
    if isinstance(arguments, str):
        arguments = _json(arguments)
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return ToolCall(name=name, arguments=json.dumps(arguments, ensure_ascii=False))


def _first(entry: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((entry[key] for key in keys if key in entry), None)


def _json(text: str) -> Any:
    """The value of a JSON text; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
