"""Content of input items: text in parts. Images and files, which no model here sees, are refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import BoundedList, Fields, Text, of_type, text_or_parts
from anytime_server.api.schema.message_parts import Refusal


class TextPart(Fields):
    """A piece of text, given or answered."""

    type: Literal["input_text", "output_text", "text"]
    text: Text

    # From an earlier response, added by OpenAI's SDK, or without effect.
    annotations: NoEffect = None
    logprobs: NoEffect = None
    parsed: NoEffect = None
    prompt_cache_breakpoint: NoEffect = None


PARTS: dict[str, type[Fields]] = {
    "input_text": TextPart,
    "output_text": TextPart,
    "text": TextPart,
    "refusal": Refusal,
}


def _part(value: Any) -> Any:
    return of_type(value, PARTS, "a part")


def _text_or_parts(content: Any) -> Any:
    return text_or_parts(content, TextPart, "input_text")


Part = Annotated[TextPart | Refusal, PlainValidator(_part, json_schema_input_type=TextPart | Refusal)]
Parts = Annotated[BoundedList[Part], BeforeValidator(_text_or_parts, str | list[Part])]
"""A string, which is one part, or a list of parts."""


def text_of(parts: Sequence[TextPart | Refusal]) -> str:
    """The text of all parts."""
    return "".join(part.text for part in parts)
