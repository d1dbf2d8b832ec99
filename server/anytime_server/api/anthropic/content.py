"""Anthropic's messages, made of blocks, and the turns that chat templates take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, StrictBool, StrictStr, ValidationInfo

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import BoundedList, Fields, JsonObject, Text, of_type, text_or_parts
from anytime_server.errors import InvalidRequest


class Block(Fields):
    cache_control: Any = None
    """No effect: every prefix is cached."""


class TextBlock(Block):
    """A piece of text."""

    type: Literal["text"]
    text: Text
    citations: NoEffect = None


class ThinkingBlock(Block):
    """Earlier thinking; the chat template decides what of it the model sees."""

    type: Literal["thinking"]
    thinking: Text
    signature: StrictStr
    """A continuation token. In history it is ignored."""


class RedactedThinkingBlock(Block):
    """Thinking that another server has encrypted; the model does not see it."""

    type: Literal["redacted_thinking"]
    data: StrictStr


class ToolUseBlock(Block):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: Text
    name: Text
    input: JsonObject
    caller: Any = None
    toolset_name: NoEffect = None


def _text_or_blocks(content: Any) -> Any:
    return text_or_parts(content, TextBlock, "text")


def _text_only(block: Any) -> TextBlock:
    return of_type(block, {"text": TextBlock}, "block")


def _of_role(block: Any, info: ValidationInfo) -> Block:
    role = info.data.get("role")  # none where that is at fault itself
    return of_type(block, BLOCKS[role] if role else BLOCKS["user"] | BLOCKS["assistant"], "block")


TextBlocks = Annotated[
    BoundedList[Annotated[TextBlock, BeforeValidator(_text_only)]],
    BeforeValidator(_text_or_blocks, str | list[TextBlock]),
]
"""A string, which is one block, or text blocks."""


class ToolResultBlock(Block):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: Text
    content: TextBlocks | None = None
    is_error: StrictBool = False
    """The model sees `Error: ` before the text: chat templates have no field for it."""
    toolset_name: NoEffect = None

    @property
    def text(self) -> str:
        text = text_of(self.content or ())
        return f"Error: {text}" if self.is_error else text


AnyBlock = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
BLOCKS: dict[str, dict[str, type[Block]]] = {
    "user": {"text": TextBlock, "tool_result": ToolResultBlock},
    "assistant": {
        "text": TextBlock,
        "thinking": ThinkingBlock,
        "redacted_thinking": RedactedThinkingBlock,
        "tool_use": ToolUseBlock,
    },
    "system": {"text": TextBlock},
}
"""Blocks that a message can have, by its role."""


class Message(Fields):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[
        BoundedList[Annotated[AnyBlock, BeforeValidator(_of_role)]],
        BeforeValidator(_text_or_blocks, str | list[AnyBlock]),
    ]
    """A string, which is one text block, or a list of blocks."""

    @property
    def continuation(self) -> str | None:
        """The signature of an assistant's turn that is thinking alone; None for any other."""
        match self.content:
            case [ThinkingBlock(signature=signature)] if signature:
                return signature
        return None

    @property
    def continued_text(self) -> str | None:
        """The thinking that goes with the signature; None where it was omitted."""
        match self.content:
            case [ThinkingBlock(thinking=thinking)] if thinking:
                return thinking
        return None

    @property
    def calls_tools(self) -> bool:
        return any(isinstance(block, ToolUseBlock) for block in self.content)

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing in it to answer."""
        return not any(
            isinstance(block, ToolResultBlock) or (isinstance(block, TextBlock) and block.text.strip())
            for block in self.content
        )


def text_of(blocks: Sequence[Block]) -> str:
    """Text of the blocks that have any."""
    return "".join(block.text for block in blocks if isinstance(block, TextBlock))


def turns_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates take them; each tool result is a turn of its own.

    Raises:
        InvalidRequest: a tool result is of no call before it.
    """
    turns: list[dict[str, Any]] = []
    called: dict[str, str] = {}  # names of functions, by the id of the call
    for number, message in enumerate(messages):
        if message.role != "assistant":
            turns += _given_turns(message, called, field=f"messages.{number}.content")
            continue
        turn: dict[str, Any] = {"role": "assistant", "content": text_of(message.content)}
        thinking = [block.thinking for block in message.content if isinstance(block, ThinkingBlock)]
        if any(thinking):
            turn["reasoning_content"] = "".join(thinking)
        calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
        if calls:
            turn["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.input}}
                for call in calls
            ]
            called |= {call.id: call.name for call in calls}
        turns.append(turn)
    return turns


def _given_turns(message: Message, called: dict[str, str], *, field: str) -> list[dict[str, Any]]:
    """Turns of a message that the model did not write, in the order of its blocks."""
    turns: list[dict[str, Any]] = []
    for place, block in enumerate(message.content):
        if isinstance(block, ToolResultBlock):
            if (name := called.get(block.tool_use_id)) is None:
                raise InvalidRequest(
                    f"no tool_use before it has the id {block.tool_use_id!r}",
                    field=f"{field}.{place}.tool_use_id",
                )
            turns.append(
                {"role": "tool", "tool_call_id": block.tool_use_id, "name": name, "content": block.text}
            )
        elif isinstance(block, TextBlock):
            if not turns or turns[-1]["role"] == "tool":
                turns.append({"role": message.role, "content": ""})
            turns[-1]["content"] += block.text
    return turns or [{"role": message.role, "content": ""}]
