"""Tool calls as JSON of our own, which an answer is held to where the client requires a call.

The answer is no text of the model's own syntax for calls: its constraint is a JSON schema made of the
functions' parameters, and what it spells is read as calls. Knows no tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from anytime_server.engine.structured.schema import hoisted
from anytime_server.text.call_readers import ToolCall

MOST_CALLS = 8
"""Calls of one answer where the client gives no limit."""
CALLS = "tool_calls"
"""Property of an object that stands for calls where the answer may be other JSON, too."""
ANSWER = "answer"
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class JsonCalls:
    """Calls of some functions as JSON: arguments, an object with a name, or a list of such objects."""

    in_own_syntax = False
    keeps_special_tokens = False

    def __init__(
        self,
        tools: Sequence[dict[str, Any]],
        names: Sequence[str],
        *,
        max_calls: int | None,
        answer_schema: Mapping[str, Any] | None = None,
        start_ids: frozenset[int] = frozenset(),
    ) -> None:
        """
        Args:
            tools: functions as chat templates take them.
            names: those of them that may be called.
            max_calls: the most calls; None for no limit of the client's.
            answer_schema: JSON schema of an answer without calls; None where there must be a call.
            start_ids: tokens that begin calls in the model's own syntax, which end the thinking.
        """
        functions = {tool["function"]["name"]: tool["function"] for tool in tools}
        self.parameters = {name: parameters_of(functions[name]) for name in names}
        """JSON schemas of the arguments, by function."""
        self.start_ids = start_ids
        self.max_calls = max_calls
        self._single = names[0] if len(names) == 1 and max_calls == 1 and answer_schema is None else None
        self._answer_schema = answer_schema

    @property
    def is_required(self) -> bool:
        """Whether there must be a call."""
        return self._answer_schema is None

    @property
    def json_schema(self) -> str:
        """The schema of the answer, as JSON."""
        if self._single is not None:
            return json.dumps(self.parameters[self._single])
        schemas = list(self.parameters.values())
        defs = {str(i): hoisted(schema, f"#/$defs/{i}") for i, schema in enumerate(schemas)}
        calls = [
            _object({"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{i}"}})
            for i, name in enumerate(self.parameters)
        ]
        call: dict[str, Any] = {"anyOf": calls} if len(calls) > 1 else calls[0]
        call_list = {
            "type": "array",
            "items": call,
            "minItems": 1,
            "maxItems": min(self.max_calls or MOST_CALLS, MOST_CALLS),
        }
        if self._answer_schema is not None:
            defs[ANSWER] = hoisted(self._answer_schema, f"#/$defs/{ANSWER}")
            whole = {"anyOf": [{"$ref": f"#/$defs/{ANSWER}"}, _object({CALLS: call_list})]}
        else:
            whole = call if self.max_calls == 1 else call_list
        return json.dumps({**whole, "$defs": defs})

    def name_of(self, pointer: str) -> tuple[str | None, str]:
        """The function whose parameters a JSON pointer into `json_schema` is in, None for none, and the
        pointer there."""
        if self._single is not None:
            return self._single, pointer
        for key, name in {ANSWER: None, **{str(i): name for i, name in enumerate(self.parameters)}}.items():
            place = f"#/$defs/{key}"
            if f"{pointer}/".startswith(f"{place}/"):
                return name, "#" + pointer[len(place) :]
        return None, pointer

    def begins_call(self, text: str) -> bool:
        """Whether an answer must be calls."""
        return self.is_required

    def reader(self) -> JsonCallReader:
        return JsonCallReader(self)

    def read(self, text: str) -> list[ToolCall]:
        """The calls that a text is; empty where it is none, or is not whole."""
        try:
            value = json.loads(text)
            if self._single is not None:
                return [_call(self._single, value)]
            if self._answer_schema is not None:
                if not isinstance(value, dict) or list(value) != [CALLS]:
                    return []
                value = value[CALLS]
            entries = value if isinstance(value, list) else [value]
            calls = [_call(entry["name"], entry["arguments"]) for entry in entries]
        except (ValueError, RecursionError, KeyError, TypeError):
            return []
        return calls if all(call.name in self.parameters for call in calls) else []


class JsonCallReader:
    """Reads one answer; its text is held back as long as it may be calls."""

    num_failures = 0

    def __init__(self, calls: JsonCalls) -> None:
        self._calls = calls
        self._held = ""
        self._is_answer = False

    def push(self, text: str) -> str:
        """Text that can be shown now; may be empty."""
        self._held += text
        opening = f'{{"{CALLS}":'
        begun = self._held.lstrip()[: len(opening)]
        if not self._calls.is_required and begun and not opening.startswith(begun):
            self._is_answer = True
        if not self._is_answer:
            return ""
        shown, self._held = self._held, ""
        return shown

    def finish(self, blocks: Sequence[str] = ()) -> tuple[str, list[ToolCall]]:
        """The rest of the text, and the calls; an answer that was truncated is text."""
        held, self._held = self._held, ""
        calls = self._calls.read(held)
        return ("", calls[: self._calls.max_calls]) if calls else (held, [])


def parameters_of(function: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of a function's arguments; without any parameters, they are an empty object."""
    given = function.get("parameters") or {}
    shaping = {keyword for keyword in given if keyword not in ("$schema", "title", "description", "required")}
    if shaping <= {"type"} or (shaping <= {"type", "properties"} and not given.get("properties")):
        return NO_ARGUMENTS
    return {"type": "object", **given}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _call(name: Any, arguments: Any) -> ToolCall:
    """A call, as text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError("no call")
    return ToolCall(name=name, arguments=json.dumps(arguments, ensure_ascii=False, allow_nan=False))
