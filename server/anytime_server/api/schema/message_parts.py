"""Content of messages in parts, and earlier thinking in the forms in which clients send it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import Fields, Text, of_type


class Part(Fields):
    """A part of a message."""

    cache_control: NoEffect = None
    """Anthropic's, which LiteLLM passes on. Every prefix is cached."""


class TextPart(Part):
    """A piece of text, in chat's or the Responses API's form."""

    type: Literal["text", "input_text", "output_text"]
    text: Text


class Refusal(Fields):
    """A refusal of the assistant's, which is text like any other."""

    type: Literal["refusal"]
    refusal: Text

    @property
    def text(self) -> str:
        return self.refusal


class RefusalPart(Refusal, Part):
    """The same in a message."""


def _text_of_parts(value: Any) -> Any:
    """Text that may come in parts, as Mistral writes thinking."""
    if not isinstance(value, list):
        return value
    return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))


class ThinkingPart(Part):
    """Earlier thinking of an assistant's turn, in Anthropic's or Mistral's form."""

    type: Literal["thinking"]
    thinking: Annotated[Text, BeforeValidator(_text_of_parts, str | list[TextPart])] = ""
    signature: NoEffect = None
    closed: NoEffect = None


class ReasoningPart(Part):
    """Earlier thinking of an assistant's turn, in the AI SDK's form."""

    type: Literal["reasoning"]
    text: Text = ""

    @property
    def thinking(self) -> str:
        return self.text


GIVEN: dict[str, type[Part]] = {"text": TextPart, "input_text": TextPart}
"""Parts of a turn that the model did not write."""
WRITTEN = {
    **GIVEN,
    "output_text": TextPart,
    "refusal": RefusalPart,
    "thinking": ThinkingPart,
    "reasoning": ReasoningPart,
}
"""Parts of the assistant's turn."""


def _of_role(part: Any, info: ValidationInfo) -> Any:
    if isinstance(part, str):
        return TextPart(type="text", text=part)
    return of_type(part, WRITTEN if info.data.get("role") == "assistant" else GIVEN, "a part")


ContentPart = Annotated[
    TextPart | RefusalPart | ThinkingPart | ReasoningPart,
    BeforeValidator(_of_role, str | TextPart | RefusalPart | ThinkingPart | ReasoningPart),
]
"""A part of a message, by its `type` and the message's `role`; a string is a text part."""


class ThinkingBlock(Fields):
    """Thinking as LiteLLM adds it to a message, in Anthropic's form."""

    type: Literal["thinking", "redacted_thinking"]
    thinking: Text = ""
    signature: NoEffect = None
    data: NoEffect = None
    cache_control: NoEffect = None


class ReasoningDetail(Fields):
    """Thinking as OpenRouter adds it to a message."""

    type: Literal["reasoning.text", "reasoning.summary", "reasoning.encrypted"]
    text: Text | None = None
    summary: Text | None = None
    data: NoEffect = None
    signature: NoEffect = None
    id: NoEffect = None
    format: NoEffect = None
    index: NoEffect = None

    @property
    def thinking(self) -> str:
        return self.text or self.summary or ""


def thinking_in(*forms: Sequence[Fields] | None) -> str:
    """The thinking of the first form that has any; clients send the same in several."""
    for items in forms:
        if text := "".join(getattr(item, "thinking", "") for item in items or ()):
            return text
    return ""
