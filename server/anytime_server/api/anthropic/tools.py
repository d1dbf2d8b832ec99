"""Tools of a Messages request: functions, and tools of Anthropic's whose schema the client leaves out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, StrictStr

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import MAX_TOOLS, BoundedList, Fields, JsonObject, Text, of_type
from anytime_server.api.schema.ignored import Unserved
from anytime_server.api.schema.tools import HostedTool, ToolHints


class NamedTool(ToolHints):
    """A tool that the model may call, and the client runs."""

    name: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
    cache_control: NoEffect = None
    strict: Any = None
    """The input is held to the schema where `tool_choice` requires the call; elsewhere this is reported."""
    input_examples: Annotated[Any, Unserved(why="the model does not see them")] = None


class Tool(NamedTool):
    """A function of the client's that the model may call."""

    type: Literal["custom"] | None = None
    description: Text | None = None
    input_schema: JsonObject
    eager_input_streaming: NoEffect = None
    """The input of a call is sent once it is whole."""

    def for_template(self) -> dict[str, Any]:
        """The function as chat templates take it."""
        described = {} if self.description is None else {"description": self.description}
        return {
            "type": "function",
            "function": {"name": self.name, **described, "parameters": self.input_schema},
        }


TEXT: dict[str, Any] = {"type": "string"}
EDITS = {
    "path": TEXT,
    "file_text": TEXT | {"description": "Of the file to create."},
    "old_str": TEXT | {"description": "Text to replace; it must be in the file exactly once."},
    "new_str": TEXT,
    "insert_line": {"type": "integer", "description": "Line after which to insert."},
    "insert_text": TEXT,
    "view_range": {"type": "array", "items": {"type": "integer"}, "description": "First and last line."},
}


def _commands(*names: str) -> dict[str, Any]:
    return {"command": TEXT | {"enum": list(names)}}


CLIENT_TOOLS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "bash_": (
        "Run a command in a persistent shell.",
        {"command": TEXT, "restart": {"type": "boolean", "description": "Start the shell anew instead."}},
        [],
    ),
    "text_editor_": (
        "View, create and edit files.",
        _commands("view", "create", "str_replace", "insert") | EDITS,
        ["command", "path"],
    ),
    "memory_": (
        "View, create and edit files under /memories, which stay from one conversation to the next.",
        _commands("view", "create", "str_replace", "insert", "delete", "rename")
        | EDITS
        | {"old_path": TEXT, "new_path": TEXT},
        ["command"],
    ),
}
"""Description, parameters and required ones of tools that the client runs, by the beginning of their type."""


class ClientTool(NamedTool):
    """A tool that Anthropic's models know without its schema, and that the client runs."""

    type: Annotated[StrictStr, Field(pattern=f"^({'|'.join(CLIENT_TOOLS)})")]
    max_characters: NoEffect = None

    def for_template(self) -> dict[str, Any]:
        """A function with the parameters that the client expects."""
        description, properties, required = next(
            tool for start, tool in CLIENT_TOOLS.items() if self.type.startswith(start)
        )
        parameters = {"type": "object", "properties": properties, "required": required}
        function = {"name": self.name, "description": description, "parameters": parameters}
        return {"type": "function", "function": function}


def _tool(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind is None:  # functions may be without a type
        otherwise: type[Fields] = Tool
    else:
        otherwise = ClientTool if str(kind).startswith(tuple(CLIENT_TOOLS)) else HostedTool
    return of_type(value, {"custom": Tool}, "a tool", otherwise=otherwise)


AnyTool = Tool | ClientTool | HostedTool
Tools = Annotated[
    BoundedList[Annotated[AnyTool, PlainValidator(_tool, json_schema_input_type=AnyTool)]],
    Field(max_length=MAX_TOOLS),
]
