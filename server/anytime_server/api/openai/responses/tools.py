"""Tools of a Responses request: what the model is offered, and what its calls are to the client.

The model calls functions only. A custom tool is a function with one string, a namespace is its functions, and
hosted tools, which OpenAI runs itself, are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, model_validator

from anytime_server.api.schema.fields import (
    MAX_TOOLS,
    BoundedList,
    Fields,
    JsonObject,
    Text,
    of_type,
    written_again,
)
from anytime_server.api.schema.ignored import Unserved
from anytime_server.api.schema.tools import FunctionFields, HostedTool, ToolHints
from anytime_server.text.tool_calls import ToolCall

INPUT = "input"
"""The one parameter of a custom tool."""


class FunctionTool(FunctionFields, ToolHints):
    """A function that the model may call, written flat."""

    type: Literal["function"]
    output_schema: Annotated[Any, Unserved(why="the model does not see it")] = None

    @property
    def function(self) -> dict[str, Any]:
        """The function as chat templates take it."""
        return self.model_dump(exclude_none=True, include={"name", "description", "parameters"})

    def for_response(self) -> dict[str, Any]:
        return self.model_dump(include={"type", "name", "description", "parameters", "strict"})


class CustomTool(ToolHints):
    """A tool that takes any text."""

    type: Literal["custom"]
    name: Annotated[Text, Field(min_length=1)]
    description: Text | None = None
    format: Annotated[
        JsonObject | None,
        Unserved(({"type": "text"},), "the model sees the grammar, and its input is not constrained"),
    ] = None

    @property
    def function(self) -> dict[str, Any]:
        """A function with the text as its one parameter."""
        text: dict[str, Any] = {"type": "string"}
        if isinstance(definition := (self.format or {}).get("definition"), str):
            syntax = self.format and self.format.get("syntax")
            text["description"] = f"Must match this {syntax} grammar:\n{definition}"
        described = {} if self.description is None else {"description": self.description}
        parameters = {"type": "object", "properties": {INPUT: text}, "required": [INPUT]}
        return {"name": self.name, **described, "parameters": parameters}

    def for_response(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True, include={"type", "name", "description", "format"})


class ReturnedTool(HostedTool):
    """A hosted tool, or one whose calls have an item type of their own. It is left out, but the response
    returns it."""

    unserved_because = "tools of this type are not served, only functions and custom tools"

    @model_validator(mode="after")
    def _can_be_returned(self) -> ReturnedTool:
        written_again(self.model_dump())
        return self

    def for_response(self) -> dict[str, Any]:
        return self.model_dump()


OWN_TOOLS: dict[str, type[Fields]] = {"function": FunctionTool, "custom": CustomTool}


def _own(value: Any) -> Any:
    """A function or a custom tool; any other is hosted."""
    return of_type(value, OWN_TOOLS, "a tool", otherwise=ReturnedTool)


def _any(value: Any) -> Any:
    return of_type(value, OWN_TOOLS | {"namespace": NamespaceTool}, "a tool", otherwise=ReturnedTool)


OwnTool = Annotated[
    FunctionTool | CustomTool | ReturnedTool,
    PlainValidator(_own, json_schema_input_type=FunctionTool | CustomTool | ReturnedTool),
]


class NamespaceTool(Fields):
    """Tools with a name in common, such as those of one MCP server."""

    type: Literal["namespace"]
    name: Annotated[Text, Field(min_length=1)]
    description: Text = ""
    tools: Annotated[BoundedList[OwnTool], Field(max_length=MAX_TOOLS)]

    def for_response(self) -> dict[str, Any]:
        tools = [tool.for_response() for tool in self.tools]
        return {"type": self.type, "name": self.name, "description": self.description, "tools": tools}


Tool = Annotated[
    FunctionTool | CustomTool | NamespaceTool | ReturnedTool,
    PlainValidator(_any, json_schema_input_type=FunctionTool | CustomTool | NamespaceTool | ReturnedTool),
]
Tools = Annotated[BoundedList[Tool], Field(max_length=MAX_TOOLS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """A tool that the model may call."""

    tool: FunctionTool | CustomTool
    namespace: NamespaceTool | None
    name: str
    """Its function's name for the model: that of the tool, with the namespace where another has it, too."""

    def for_template(self) -> dict[str, Any]:
        """The function as chat templates take it."""
        function = self.tool.function | {"name": self.name}
        if self.namespace is not None and self.namespace.description:
            own = function.get("description", "")
            function["description"] = f"{self.namespace.description}\n{own}".strip()
        return {"type": "function", "function": function}


class Toolbox:
    """All tools of a request, by the names that the model knows and by those of the client."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        found = list(_callable(tools))
        times = Counter(tool.name for tool, _ in found)
        self._offered = [
            OfferedTool(
                tool=tool,
                namespace=namespace,
                name=tool.name
                if namespace is None or times[tool.name] == 1
                else f"{namespace.name}__{tool.name}",
            )
            for tool, namespace in found
        ]
        self._by_name = {one.name: one for one in self._offered}
        self._names = {
            (one.namespace and one.namespace.name, one.tool.name): one.name for one in self._offered
        }

    @property
    def names(self) -> list[str]:
        """Those that the model knows."""
        return list(self._by_name)

    def for_template(self) -> list[dict[str, Any]]:
        """The functions as chat templates take them."""
        return [one.for_template() for one in self._offered]

    def name_of(self, name: str, namespace: str | None) -> str:
        """The model's name of a tool that the client names; the client's own for one that is not here."""
        return self._names.get((namespace, name)) or self._names.get((None, name), name)

    def call_fields(self, call: ToolCall) -> dict[str, Any]:
        """The fields of an item for a call: type, name, namespace, and arguments or input."""
        offered = self._by_name.get(call.name)
        if offered is None:
            return {"type": "function_call", "name": call.name, "arguments": call.arguments}
        named = {"name": offered.tool.name}
        if offered.namespace is not None:
            named["namespace"] = offered.namespace.name
        if isinstance(offered.tool, CustomTool):
            return {"type": "custom_tool_call", **named, "input": _input_of(call.arguments)}
        return {"type": "function_call", **named, "arguments": call.arguments}


def _callable(
    tools: Iterable[Tool],
) -> Iterator[tuple[FunctionTool | CustomTool, NamespaceTool | None]]:
    """The tools that are not hosted, each with its namespace."""
    for tool in tools:
        namespace = tool if isinstance(tool, NamespaceTool) else None
        for one in [tool] if namespace is None else namespace.tools:
            if isinstance(one, FunctionTool | CustomTool):
                yield one, namespace


def _input_of(arguments: str) -> str:
    """The text for a custom tool; all arguments where the model gave none of that name."""
    text = json.loads(arguments).get(INPUT)
    return text if isinstance(text, str) else arguments
