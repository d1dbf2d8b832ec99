"""Input items of tools that this server does not have: a conversation may come from elsewhere.

The model sees a call with its content as a call of a function. Records without content are ignored and
reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, StrictStr, model_validator

from anytime_server.api.openai.responses.input_items import Call, InputItem, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """Where the content of a record is."""

    function: str | None = None
    """Name of the function that it is shown as a call of; None for the record's own `name`."""
    arguments: str | None = None
    """Field of the call's arguments; None for a record that is no call."""
    results: tuple[str, ...] = ()
    """Fields of the result, of which the first that is not null counts; none for a call alone."""


CALLS = {
    "local_shell_call": _Content(function="local_shell", arguments="action"),
    "local_shell_call_output": _Content(results=("output",)),
    "shell_call": _Content(function="shell", arguments="action"),
    "shell_call_output": _Content(results=("output",)),
    "apply_patch_call": _Content(function="apply_patch", arguments="operation"),
    "apply_patch_call_output": _Content(results=("output", "status")),
    "mcp_call": _Content(arguments="arguments", results=("output", "error", "status")),
    "code_interpreter_call": _Content(
        function="code_interpreter", arguments="code", results=("outputs", "status")
    ),
    "file_search_call": _Content(function="file_search", arguments="queries", results=("results", "status")),
}
"""Records that have content."""

EMPTY = (
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_list_tools",
    "tool_search_call",
    "web_search_call",
)
"""Records without any: what a search has found is in the message after it."""


class RecordItem(InputItem):
    """A call of a tool that is not here, or its result."""

    model_config = ConfigDict(extra="allow")

    type: StrictStr

    @model_validator(mode="after")
    def _is_whole(self) -> RecordItem:
        content = CALLS[self.type]
        if not self._call_id:
            raise ValueError("has no id of its call")
        if content.arguments is not None and not self._name:
            raise ValueError("has no name")
        return self

    @property
    def call(self) -> Call | None:
        content = CALLS[self.type]
        if content.arguments is None:
            return None
        value = self._fields.get(content.arguments)
        if not isinstance(value, dict | str) or self.type == "code_interpreter_call":
            value = {content.arguments: value}
        return Call(call_id=self._call_id, name=self._name, arguments=_text(value))

    @property
    def result(self) -> Result | None:
        content = CALLS[self.type]
        if not content.results:
            return None
        given = (self._fields.get(name) for name in content.results)
        value = next((one for one in given if one is not None), "")
        return Result(call_id=self._call_id, text=_text(value))

    @property
    def _fields(self) -> dict[str, Any]:
        return {"status": self.status, **(self.model_extra or {})}

    @property
    def _call_id(self) -> str:
        """The id of the call; some records have one id for both."""
        call_id = self._fields.get("call_id") or self.id
        return call_id if isinstance(call_id, str) else ""

    @property
    def _name(self) -> str:
        content = CALLS[self.type]
        name = content.function or self._fields.get("name")
        return name if isinstance(name, str) else ""


class EmptyRecordItem(InputItem):
    """A record of which the model sees nothing."""

    model_config = ConfigDict(extra="allow")
    unserved_because = "a record of a tool that is not here, without content"

    type: StrictStr


RECORDS: Mapping[str, type[InputItem]] = {
    **dict.fromkeys(CALLS, RecordItem),
    **dict.fromkeys(EMPTY, EmptyRecordItem),
}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
