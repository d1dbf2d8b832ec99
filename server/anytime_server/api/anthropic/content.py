"""Anthropic's messages, made of blocks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator, ValidationInfo

from anytime_server.api.anthropic.blocks import (
    TEXTS,
    Block,
    CompactionBlock,
    DirectiveBlock,
    DocumentBlock,
    RedactedThinkingBlock,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    text_or_blocks,
)
from anytime_server.api.anthropic.hosted_tools import (
    HOSTED_BLOCKS,
    HostedToolResultBlock,
    HostedToolUseBlock,
)
from anytime_server.api.schema.fields import BoundedList, Fields, of_type

AnyBlock = (
    TextBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | DocumentBlock
    | SearchResultBlock
    | CompactionBlock
    | DirectiveBlock
    | HostedToolUseBlock
    | HostedToolResultBlock
)
DIRECTIVES: dict[str, type[Block]] = dict.fromkeys(
    ("tool_addition", "tool_removal", "mcp_tool_listing", "fallback"), DirectiveBlock
)
ANY: dict[str, type[Block]] = {"text": TextBlock, "compaction": CompactionBlock, **DIRECTIVES}
BLOCKS: dict[str, dict[str, type[Block]]] = {
    "user": ANY
    | {"tool_result": ToolResultBlock, "document": DocumentBlock, "search_result": SearchResultBlock},
    "assistant": ANY
    | {"thinking": ThinkingBlock, "redacted_thinking": RedactedThinkingBlock, "tool_use": ToolUseBlock}
    | HOSTED_BLOCKS,
    "system": ANY,
}
"""Blocks that a message can have, by its role."""


def _of_role(block: Any, info: ValidationInfo) -> Any:
    role = info.data.get("role")  # none where that is at fault itself
    return of_type(block, BLOCKS[role] if role else BLOCKS["user"] | BLOCKS["assistant"], "a block")


class Message(Fields):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[
        BoundedList[Annotated[AnyBlock, PlainValidator(_of_role, json_schema_input_type=AnyBlock)]],
        BeforeValidator(text_or_blocks, str | list[AnyBlock]),
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
            isinstance(block, ToolResultBlock) or (isinstance(block, TEXTS) and block.text.strip())
            for block in self.content
        )
