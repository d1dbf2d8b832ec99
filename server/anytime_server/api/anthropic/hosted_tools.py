"""Blocks of hosted tools, which Anthropic runs itself, in a conversation from there.

The model sees them as calls of functions and their results, as far as they are text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, StrictStr

from anytime_server.api.anthropic.blocks import Block
from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import JsonObject, Text, written_again

ENCODED = ("base64", "image", "file", "url")
"""Types of content that is no text."""


class HostedToolUseBlock(Block):
    """A call that another server answered."""

    type: StrictStr
    id: Text
    name: Text
    input: JsonObject
    caller: NoEffect = None
    server_name: NoEffect = None


def _is_text(content: Any) -> Any:
    """Pass content without images and files, which the model cannot see."""
    written_again({"content": content})
    for part in _objects(content):
        if part.get("type") in ENCODED:
            raise ValueError(f"has content of type {part['type']}, which is not served: text only")
    return content


class HostedToolResultBlock(Block):
    """The result of such a call."""

    type: StrictStr
    tool_use_id: Text
    content: Annotated[Any, AfterValidator(_is_text)] = None
    is_error: NoEffect = None
    caller: NoEffect = None

    @property
    def text(self) -> str:
        """Its text; JSON, without what is encrypted, where it has other fields."""
        content = self.content
        if isinstance(content, list) and all(_is_text_block(part) for part in content):
            return "".join(part["text"] for part in content)
        return content if isinstance(content, str) else json.dumps(_readable(content), ensure_ascii=False)


HOSTED_BLOCKS: dict[str, type[Block]] = {
    "server_tool_use": HostedToolUseBlock,
    "mcp_tool_use": HostedToolUseBlock,
    "advisor_tool_result": HostedToolResultBlock,
    "bash_code_execution_tool_result": HostedToolResultBlock,
    "code_execution_tool_result": HostedToolResultBlock,
    "mcp_tool_result": HostedToolResultBlock,
    "text_editor_code_execution_tool_result": HostedToolResultBlock,
    "tool_search_tool_result": HostedToolResultBlock,
    "web_fetch_tool_result": HostedToolResultBlock,
    "web_search_tool_result": HostedToolResultBlock,
}


def _is_text_block(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """All objects within a value."""
    found: list[Mapping[str, Any]] = []
    open_: list[Any] = [value]
    while open_:
        one = open_.pop()
        if isinstance(one, dict):
            found.append(one)
            open_ += one.values()
        elif isinstance(one, list):
            open_ += one
    return found


def _readable(value: Any) -> Any:
    if isinstance(value, list):
        return [_readable(part) for part in value]
    if isinstance(value, dict):
        return {name: _readable(part) for name, part in value.items() if not name.startswith("encrypted_")}
    return value
