"""Messages as all dialects of this server take them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from anytime_server.api.fields import Fields
from anytime_server.errors import InvalidRequest


class TextPart(Fields):
    """A piece of text within a message."""

    type: Literal["text"]
    text: str


class Message(Fields):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    """Taken for compatibility; the model does not see it."""
    reasoning_content: str | None = None
    """Earlier thinking of an assistant turn; the chat template decides what of it the model sees."""
    reasoning: str | None = None
    """The same under the name that other servers use."""

    @field_validator("content", mode="before")
    @classmethod
    def _text_or_parts(cls, content: Any) -> Any:
        if not isinstance(content, str | list):
            raise ValueError("must be a string or a list of text parts")
        return content

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def for_template(self) -> dict[str, str]:
        """The turn as chat templates take it."""
        turn = {"role": "system" if self.role == "developer" else self.role, "content": self.text}
        if thinking := self.reasoning_content or self.reasoning:
            turn["reasoning_content"] = thinking
        return turn


class Conversation(Fields):
    """What every dialect's request has: a model and messages."""

    messages: list[Message] = Field(min_length=1)
    """The conversation, ending with the user's turn."""

    def turns(self) -> list[dict[str, str]]:
        """The conversation for the chat template.

        Raises:
            InvalidRequest: there is nothing to answer.
        """
        last = len(self.messages) - 1
        if self.messages[last].role == "assistant":
            raise InvalidRequest("the last message must be the user's", field=f"messages.{last}.role")
        if not self.messages[last].text.strip():
            raise InvalidRequest("the prompt is empty", field=f"messages.{last}.content")
        return [message.for_template() for message in self.messages]
