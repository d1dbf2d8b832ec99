"""Input items of a Responses request: messages, thinking, calls and their results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, StrictStr

from anytime_server.api.openai.responses.parts import Parts, text_of
from anytime_server.api.openai.responses.tools import INPUT, Tool, Tools
from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import BoundedList, Fields, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that the model made."""

    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a call."""

    call_id: str
    text: str


class InputItem(Fields):
    """An item of the conversation."""

    id: Text | None = None
    status: NoEffect = None

    _wire: dict[str, Any] = PrivateAttr(default_factory=dict)
    """The item as the client wrote it."""

    @property
    def wire(self) -> dict[str, Any]:
        return self._wire

    def keep_wire(self, value: dict[str, Any]) -> None:
        self._wire = value

    @property
    def call(self) -> Call | None:
        """The call that it is, or has the result of."""
        return None

    @property
    def result(self) -> Result | None:
        return None

    @property
    def more_tools(self) -> Sequence[Tool]:
        """Tools that it adds to those of the request."""
        return ()


class MessageItem(InputItem):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Parts
    phase: NoEffect = None

    @property
    def text(self) -> str:
        return text_of(self.content)


class SummaryPart(Fields):
    type: Literal["summary_text"]
    text: Text


class ReasoningPart(Fields):
    type: Literal["reasoning_text", "text"]
    text: Text


class ReasoningItem(InputItem):
    """Earlier thinking; the chat template decides what of it the model sees."""

    type: Literal["reasoning"]
    summary: BoundedList[SummaryPart] = Field(default_factory=list)
    content: BoundedList[ReasoningPart] | None = None
    encrypted_content: StrictStr | None = None
    """The continuation token. Only that of the last item counts: its thinking is resumed."""

    @property
    def text(self) -> str:
        """The thinking itself where it is there, else its summary."""
        return "".join(part.text for part in self.content or self.summary)


class NamedCallItem(InputItem):
    """A call of a tool of the client's."""

    call_id: Text
    name: Annotated[Text, Field(min_length=1)]
    namespace: Text | None = None
    caller: NoEffect = None

    def call_with(self, arguments: str) -> Call:
        """The call, with its arguments as JSON text."""
        return Call(call_id=self.call_id, name=self.name, namespace=self.namespace, arguments=arguments)


class CallItem(NamedCallItem):
    """A call of a function."""

    type: Literal["function_call"]
    arguments: Text
    parsed_arguments: NoEffect = None
    """Added by OpenAI's SDK, which may send it back."""

    @property
    def call(self) -> Call:
        return self.call_with(self.arguments)


class CustomCallItem(NamedCallItem):
    """A call of a custom tool."""

    type: Literal["custom_tool_call"]
    input: Text

    @property
    def call(self) -> Call:
        return self.call_with(json.dumps({INPUT: self.input}, ensure_ascii=False))


class CallOutputItem(InputItem):
    """The result of a call."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: Text
    output: Parts
    name: NoEffect = None
    namespace: NoEffect = None
    caller: NoEffect = None

    @property
    def result(self) -> Result:
        return Result(call_id=self.call_id, text=text_of(self.output))


class MoreToolsItem(InputItem):
    """Tools that a client adds within the conversation, or that it searched for."""

    type: Literal["additional_tools", "tool_search_output"]
    tools: Tools
    role: NoEffect = None
    call_id: NoEffect = None
    execution: NoEffect = None

    @property
    def more_tools(self) -> Sequence[Tool]:
        return self.tools


class ItemReference(InputItem):
    """An item of a stored response, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: Text = Field(default=...)  # pyright: ignore[reportIncompatibleVariableOverride]
