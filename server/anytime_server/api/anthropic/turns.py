"""From messages to the turns that chat templates take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anytime_server.api.anthropic.blocks import TEXTS, ThinkingBlock, ToolResultBlock, ToolUseBlock, text_of
from anytime_server.api.anthropic.content import Message
from anytime_server.api.anthropic.hosted_tools import HostedToolResultBlock, HostedToolUseBlock
from anytime_server.errors import InvalidRequest


def turns_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates take them; each tool result is a turn of its own.

    Raises:
        InvalidRequest: a tool result is of no call before it.
    """
    turns: list[dict[str, Any]] = []
    called: dict[str, str] = {}  # names of functions, by the id of the call
    for number, message in enumerate(messages):
        of_role = _answered_turns if message.role == "assistant" else _given_turns
        turns += of_role(message, called, field=f"messages.{number}.content")
    return turns


def _answered_turns(message: Message, called: dict[str, str], *, field: str) -> list[dict[str, Any]]:
    """The turns of a message that a model wrote: several where another server ran tools within it."""
    turns: list[dict[str, Any]] = []
    blocks: list[Any] = []
    for place, block in enumerate(message.content):
        if isinstance(block, HostedToolResultBlock):
            if blocks:
                turns.append(_answered_turn(blocks, called))
                blocks = []
            turns.append(_result(block, called, field=f"{field}.{place}"))
        else:
            blocks.append(block)
    return [*turns, _answered_turn(blocks, called)] if blocks or not turns else turns


def _answered_turn(blocks: Sequence[Any], called: dict[str, str]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": text_of(blocks)}
    thinking = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    if any(thinking):
        turn["reasoning_content"] = "".join(thinking)
    calls = [block for block in blocks if isinstance(block, ToolUseBlock | HostedToolUseBlock)]
    if calls:
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.input}}
            for call in calls
        ]
        called |= {call.id: call.name for call in calls}
    return turn


def _given_turns(message: Message, called: dict[str, str], *, field: str) -> list[dict[str, Any]]:
    """Turns of a message that the model did not write, in the order of its blocks."""
    turns: list[dict[str, Any]] = []
    for place, block in enumerate(message.content):
        if isinstance(block, ToolResultBlock):
            turns.append(_result(block, called, field=f"{field}.{place}"))
        elif isinstance(block, TEXTS):
            if not turns or turns[-1]["role"] == "tool":
                turns.append({"role": message.role, "content": ""})
            turns[-1]["content"] += text_of([block])
    return turns or [{"role": message.role, "content": ""}]


def _result(
    block: ToolResultBlock | HostedToolResultBlock, called: dict[str, str], *, field: str
) -> dict[str, Any]:
    if (name := called.get(block.tool_use_id)) is None:
        raise InvalidRequest(
            f"no tool_use before it has the id {block.tool_use_id!r}", field=f"{field}.tool_use_id"
        )
    return {"role": "tool", "tool_call_id": block.tool_use_id, "name": name, "content": block.text}
