"""Blocks of Anthropic's messages that are text, thinking, or calls of the client's own tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator, StrictBool, StrictStr, model_validator

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import BoundedList, Fields, JsonObject, Text, of_type, text_or_parts


class Block(Fields):
    cache_control: NoEffect = None
    """No effect: every prefix is cached."""


class TextBlock(Block):
    """A piece of text."""

    type: Literal["text"]
    text: Text
    citations: NoEffect = None


def text_or_blocks(content: Any) -> Any:
    """Content as a list of blocks: a string becomes one. Before validation."""
    return text_or_parts(content, TextBlock, "text")


def _text_only(block: Any) -> Any:
    return of_type(block, {"text": TextBlock}, "a block")


TextBlocks = Annotated[
    BoundedList[Annotated[TextBlock, PlainValidator(_text_only, json_schema_input_type=TextBlock)]],
    BeforeValidator(text_or_blocks, str | list[TextBlock]),
]
"""A string, which is one block, or text blocks."""


class PlainTextSource(Fields):
    type: Literal["text"]
    media_type: NoEffect = None
    data: Text

    @property
    def text(self) -> str:
        return self.data


class ContentSource(Fields):
    type: Literal["content"]
    content: TextBlocks

    @property
    def text(self) -> str:
        return text_of(self.content)


def _source(value: Any) -> Any:
    return of_type(value, {"text": PlainTextSource, "content": ContentSource}, "a source")


class DocumentBlock(Block):
    """A document, if it is text."""

    type: Literal["document"]
    source: Annotated[
        PlainTextSource | ContentSource,
        PlainValidator(_source, json_schema_input_type=PlainTextSource | ContentSource),
    ]
    title: Text | None = None
    context: Text | None = None
    citations: NoEffect = None

    @property
    def text(self) -> str:
        return "\n".join(part for part in (self.title, self.context, self.source.text) if part)


class SearchResultBlock(Block):
    """Text that a search of the client's has found."""

    type: Literal["search_result"]
    content: TextBlocks
    source: Text
    title: Text
    citations: NoEffect = None

    @property
    def text(self) -> str:
        return "\n".join((self.title, self.source, text_of(self.content)))


class ToolReferenceBlock(Block):
    """A tool that the client's search has found: the model sees all tools, and here its name."""

    type: Literal["tool_reference"]
    tool_name: Text

    @property
    def text(self) -> str:
        return f"{self.tool_name}\n"


class CompactionBlock(Block):
    """A summary of earlier turns; null where there is none."""

    type: Literal["compaction"]
    content: Text | None = None
    encrypted_content: NoEffect = None
    signature: NoEffect = None
    tool_changes: NoEffect = None

    @property
    def text(self) -> str:
        return self.content or ""


class ThinkingBlock(Block):
    """Earlier thinking; the chat template decides what of it the model sees."""

    type: Literal["thinking"]
    thinking: Text
    signature: StrictStr | None = None
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
    caller: NoEffect = None
    toolset_name: NoEffect = None


RESULTS: dict[str, type[Block]] = {
    "text": TextBlock,
    "document": DocumentBlock,
    "search_result": SearchResultBlock,
    "tool_reference": ToolReferenceBlock,
}
"""Blocks that a tool's result can have."""


def _of_result(block: Any) -> Any:
    return of_type(block, RESULTS, "a block")


ResultBlock = TextBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock
ResultBlocks = Annotated[
    BoundedList[Annotated[ResultBlock, PlainValidator(_of_result, json_schema_input_type=ResultBlock)]],
    BeforeValidator(text_or_blocks, str | list[ResultBlock]),
]


class ToolResultBlock(Block):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: Text
    content: ResultBlocks | None = None
    is_error: StrictBool | None = None
    """The model sees `Error: ` before the text: chat templates have no field for it."""
    toolset_name: NoEffect = None

    @property
    def text(self) -> str:
        text = text_of(self.content or ())
        return f"Error: {text}" if self.is_error else text


class DirectiveBlock(Block):
    """A note for another server, such as a change of its tools from here on."""

    unserved_because = "the model sees every tool, from the beginning"

    type: StrictStr
    tool: Any = None

    @model_validator(mode="after")
    def _defines_nothing(self) -> DirectiveBlock:
        if isinstance(self.tool, dict) and "definition" in self.tool:
            raise ValueError("defines a tool, which is to be in tools")
        return self


def text_of(blocks: Sequence[Any]) -> str:
    """Text of the blocks that have any; those of several documents are apart."""
    texts = [(block, block.text) for block in blocks if isinstance(block, TEXTS) and block.text]
    return "".join(
        text if isinstance(block, TextBlock | ToolReferenceBlock) else f"{text}\n" for block, text in texts
    )


TEXTS = (TextBlock, DocumentBlock, SearchResultBlock, ToolReferenceBlock, CompactionBlock)
"""Blocks that are text for the model."""
