"""Tools in OpenAI's shape: functions that a request offers, and the calls in an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import ConfigDict, Field, StrictBool, StrictStr

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import Fields, JsonObject, Text
from anytime_server.api.schema.ignored import Unserved
from anytime_server.text.tool_calls import ToolCall

CALL_ID_CHARACTERS = 9
"""Mistral's chat templates take only ids of this length, of letters and digits."""


class ToolHints(Fields):
    """Fields of a tool that other servers understand, in several dialects."""

    defer_loading: Annotated[Any, Unserved(why="the model sees every tool")] = None
    allowed_callers: Annotated[Any, Unserved((["direct"],))] = None


class HostedTool(Fields):
    """A hosted tool, which its vendor runs itself, or one of another type that is not served. It is left
    out."""

    model_config = ConfigDict(extra="allow")
    unserved_because = "tools of this type are not served"

    type: Annotated[StrictStr, Field(max_length=64)]


class FunctionFields(Fields):
    name: Annotated[Text, Field(min_length=1)]
    description: Text | None = None
    parameters: JsonObject | None = None
    """JSON Schema of the arguments."""
    strict: StrictBool | None = None
    """Required by OpenAI's SDK for parsing arguments. They are held to the schema where a call is required;
    where the model decides, `strict` is reported as ignored."""


class ToolFields(Fields):
    """A function that the model may call."""

    type: Literal["function"]
    function: FunctionFields
    cache_control: NoEffect = None
    """Anthropic's, which LiteLLM passes on. Every prefix is cached."""

    def for_template(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True, exclude={"function": {"strict"}, "cache_control": True})


def call_object(call: ToolCall) -> dict[str, Any]:
    """A call in a response."""
    return {
        "id": uuid4().hex[:CALL_ID_CHARACTERS],
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
