"""Messages in OpenAI's shape, as the native dialect and chat completions take them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, StrictBool, ValidationInfo, WithJsonSchema, field_validator

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import BoundedList, Fields, Text, text_or_parts, written_again
from anytime_server.api.schema.message_parts import (
    ContentPart,
    ReasoningDetail,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ThinkingBlock,
    ThinkingPart,
    thinking_in,
)
from anytime_server.errors import InvalidRequest


def _nothing(value: Any) -> None:
    if value:
        raise ValueError("is not served here")


Nothing = Annotated[
    None, BeforeValidator(_nothing), WithJsonSchema({"enum": [None, False, 0, "", [], {}], "default": None})
]


class Arguments(dict[str, Any]):
    """Arguments of a call, for chat templates: an object that can be concatenated as text."""

    def __init__(self, text: str) -> None:
        """
        Raises:
            ValueError: the text is not that of a JSON object, or of one that cannot be written again.
        """
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        super().__init__(written_again(value))
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __add__(self, text: str) -> str:
        return self._text + text

    def __radd__(self, text: str) -> str:
        return text + self._text


def _json_text(value: Any) -> Any:
    return json.dumps(value or {}) if value is None or isinstance(value, dict) else value


class CalledFunction(Fields):
    name: Annotated[Text, Field(min_length=1)]
    arguments: Annotated[Text, BeforeValidator(_json_text, str | dict[str, Any] | None)] = "{}"
    """Text of a JSON object, or the object; other text is passed on unchanged."""
    parsed_arguments: Any = None
    """Added by OpenAI's SDK, which sends it back."""

    def for_template(self) -> dict[str, Any]:
        try:
            arguments = Arguments(self.arguments.strip() or "{}")
        except (ValueError, RecursionError):
            return {"name": self.name, "arguments": self.arguments}
        return {"name": self.name, "arguments": arguments}


class CalledTool(Fields):
    """A call that the assistant made."""

    id: Text | None = None
    """Absent in the turns of clients that match results to calls by their order."""
    type: Literal["function"] = "function"
    function: CalledFunction
    index: Any = None
    """Of the call in a stream, which clients may leave in."""

    def for_template(self) -> dict[str, Any]:
        own_id = {"id": self.id} if self.id else {}
        return {**own_id, "type": self.type, "function": self.function.for_template()}


class Message(Fields):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: BoundedList[ContentPart] = Field(default=cast("list[Any]", None), validate_default=True)
    """A string, which is one part, or a list of parts; the assistant's and a tool's may be absent."""
    name: Text | None = None
    """Of a tool, where the chat template shows it; else taken for compatibility, and not shown."""
    reasoning_content: Text | None = None
    """Earlier thinking of an assistant turn; the chat template decides what of it the model sees."""
    reasoning: Text | None = None
    """The same under the name that other servers use."""
    thinking_blocks: BoundedList[ThinkingBlock] | None = None
    """The same as LiteLLM returns it; taken where the fields above are empty."""
    reasoning_details: BoundedList[ReasoningDetail] | None = None
    """The same as OpenRouter returns it."""
    tool_calls: BoundedList[CalledTool] | None = None
    """Calls that the assistant made in this turn."""
    tool_call_id: Text | None = None
    """The call that a tool's turn is the result of. Ignored, and reported, in other turns."""
    prefix: StrictBool | None = None
    """DeepSeek's and llama.cpp's mark of a last turn to be continued, which it is without it, too."""

    # Sent back by SDKs with a turn that they received; this server never fills them.
    refusal: Text | None = None
    annotations: NoEffect = None
    audio: Nothing = None
    function_call: Nothing = None
    parsed: Any = None
    """Added by OpenAI's SDK."""
    provider_specific_fields: NoEffect = None
    """Added by LiteLLM."""

    @field_validator("content", mode="before", json_schema_input_type=str | list[ContentPart])
    @classmethod
    def _text_or_parts(cls, content: Any, info: ValidationInfo) -> Any:
        if content is None and info.data.get("role") in ("assistant", "tool"):
            return []
        return text_or_parts(content, TextPart, "text")

    @field_validator("tool_calls")
    @classmethod
    def _called_by_the_assistant(
        cls, tool_calls: list[CalledTool] | None, info: ValidationInfo
    ) -> list[CalledTool] | None:
        if tool_calls and info.data.get("role") != "assistant":
            raise ValueError("only the assistant calls tools")
        return tool_calls

    @property
    def misplaced(self) -> Mapping[str, str]:
        if self.role == "tool" or self.tool_call_id is None:
            return {}
        return {"tool_call_id": "has an effect only in a message of a tool"}

    @property
    def text(self) -> str:
        """The text, or the refusal that stands beside the content."""
        said = [part.text for part in self.content if isinstance(part, TextPart | RefusalPart)]
        return "".join(said) or self.refusal or ""

    @property
    def thinking(self) -> str:
        """Earlier thinking of the assistant's turn, which clients send in several forms at once."""
        parts = [part for part in self.content if isinstance(part, ThinkingPart | ReasoningPart)]
        return (
            self.reasoning_content
            or self.reasoning
            or thinking_in(parts, self.thinking_blocks, self.reasoning_details)
        )

    def for_template(self) -> dict[str, Any]:
        """The turn as chat templates take it."""
        role = "system" if self.role == "developer" else self.role
        turn: dict[str, Any] = {"role": role, "content": self.text}
        if thinking := self.thinking:
            turn["reasoning_content"] = thinking
        if self.tool_calls:
            turn["tool_calls"] = [call.for_template() for call in self.tool_calls]
        if self.role == "tool":
            own = {"tool_call_id": self.tool_call_id, "name": self.name}
            turn |= {field: value for field, value in own.items() if value}
        return turn


class Conversation(Fields):
    """A request with messages."""

    messages: BoundedList[Message] = Field(min_length=1)
    """The conversation, ending with what is to be answered, or with the beginning of the answer in a message
    of the assistant, which is continued: its `reasoning_content` is the thinking before it, or there is none.
    """

    def turns(self) -> list[dict[str, Any]]:
        """The conversation for the chat template.

        Raises:
            InvalidRequest: there is nothing to answer.
        """
        last = len(self.messages) - 1
        message = self.messages[last]
        if message.role == "assistant":
            if message.tool_calls:
                raise InvalidRequest(
                    "the result of a call must follow it", field=f"messages.{last}.tool_calls"
                )
            if last == 0:
                raise InvalidRequest("there is no message to answer", field="messages")
        elif message.role != "tool" and not message.text.strip():
            raise InvalidRequest("the prompt is empty", field=f"messages.{last}.content")
        return [message.for_template() for message in self.messages]
