"""Messages as all dialects of this server take them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from anytime_server.api.fields import Fields, Text, whole_characters
from anytime_server.errors import InvalidRequest


def _nothing(value: Any) -> None:
    if value:
        raise ValueError("is not served by this version")


Nothing = Annotated[None, BeforeValidator(_nothing)]


class TextPart(Fields):
    """A piece of text within a message."""

    type: Literal["text"]
    text: Text


class Message(Fields):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[TextPart]
    """A string, which is one part, or a list of text parts."""
    name: Text | None = None
    """Taken for compatibility; the model does not see it."""
    reasoning_content: Text | None = None
    """Earlier thinking of an assistant turn; the chat template decides what of it the model sees."""
    reasoning: Text | None = None
    """The same under the name that other servers use."""

    # What OpenAI's SDK sends back with a turn that it was given; nothing is served that would fill them.
    refusal: str | None = None
    annotations: Nothing = None
    audio: Nothing = None
    function_call: Nothing = None
    tool_calls: Nothing = None

    @field_validator("content", mode="before", json_schema_input_type=str | list[TextPart])
    @classmethod
    def _text_or_parts(cls, content: Any, info: ValidationInfo) -> Any:
        if isinstance(content, str):
            return [TextPart.model_construct(type="text", text=whole_characters(content))]
        if content is None and info.data.get("role") == "assistant":
            return []
        if not isinstance(content, list):
            raise ValueError("must be a string or a list of text parts")
        return content

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content)

    def for_template(self) -> dict[str, str]:
        """The turn as chat templates take it."""
        turn = {"role": "system" if self.role == "developer" else self.role, "content": self.text}
        if thinking := self.reasoning_content or self.reasoning:
            turn["reasoning_content"] = thinking
        return turn


class Conversation(Fields):
    """What every dialect's request has: a model and messages."""

    messages: list[Message] = Field(min_length=1, max_length=4096)
    """The conversation, ending with what is to be answered."""

    def turns(self) -> list[dict[str, str]]:
        """The conversation for the chat template.

        Raises:
            InvalidRequest: there is nothing to answer.
        """
        last = len(self.messages) - 1
        if self.messages[last].role == "assistant":
            raise InvalidRequest(
                "the last message must not be the assistant's", field=f"messages.{last}.role"
            )
        if not self.messages[last].text.strip():
            raise InvalidRequest("the prompt is empty", field=f"messages.{last}.content")
        return [message.for_template() for message in self.messages]
