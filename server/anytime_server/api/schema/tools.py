"""Tools in chat completions: what a request offers, and the calls in an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import Field, StrictBool

from anytime_server.api.schema.fields import Fields, JsonObject, Text
from anytime_server.text.tool_calls import ToolCall, ToolCallReader

CALL_ID_CHARACTERS = 9
"""Mistral's chat templates take ids of this length, of letters and digits, and no others."""


class FunctionFields(Fields):
    name: Annotated[Text, Field(min_length=1)]
    description: Text | None = None
    parameters: JsonObject | None = None
    """JSON Schema of the arguments."""
    strict: StrictBool | None = None
    """Required by OpenAI's SDK where it is to parse the arguments. The model sees the schema; its calls are
    not held to it."""


class ToolFields(Fields):
    """A function that the model may call."""

    type: Literal["function"]
    function: FunctionFields

    def for_template(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True, exclude={"function": {"strict"}})


class ToolAnswer:
    """One answer that may call tools, as its text comes: what of it is content, and the calls."""

    def __init__(self, reader: ToolCallReader, *, parallel: bool) -> None:
        """
        Args:
            parallel: whether there may be more than one call; else those after the first are dropped.
        """
        self._reader = reader
        self._parallel = parallel
        self._blank = ""
        self._has_content = False

    def push(self, text: str) -> str:
        """Content that can be shown now; may be empty."""
        return self._show(self._reader.push(text))

    def finish(self) -> tuple[str, list[ToolCall]]:
        """The rest of the content, and the calls."""
        rest, calls = self._reader.finish()
        content = self._show(rest)
        if not calls:
            content, self._blank = content + self._blank, ""
        return content, calls if self._parallel else calls[:1]

    def _show(self, text: str) -> str:
        """White space waits for what follows: before a call it is no content."""
        text = self._blank + text
        self._has_content = self._has_content or bool(text.strip())
        shown, self._blank = (text, "") if self._has_content else ("", text)
        return shown


def call_object(call: ToolCall) -> dict[str, Any]:
    """A call as it is told."""
    return {
        "id": uuid4().hex[:CALL_ID_CHARACTERS],
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
