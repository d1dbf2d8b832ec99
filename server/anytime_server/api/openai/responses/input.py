"""The input items of a Responses request, and the conversation that they make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictStr

from anytime_server.api.schema.fields import BoundedList, Fields, Text, text_or_parts, whole_characters
from anytime_server.api.schema.messages import CalledFunction, CalledTool
from anytime_server.errors import InvalidRequest


class TextPart(Fields):
    """A piece of text, given or answered."""

    type: Literal["input_text", "output_text", "text"]
    text: Text

    # From an earlier response, added by OpenAI's SDK, or without effect.
    annotations: Any = None
    logprobs: Any = None
    parsed: Any = None
    prompt_cache_breakpoint: Any = None


def _text_or_parts(content: Any) -> Any:
    return text_or_parts(content, TextPart, "input_text")


Parts = Annotated[BoundedList[TextPart], BeforeValidator(_text_or_parts, str | list[TextPart])]
"""A string, which is one part, or a list of text parts."""


class MessageItem(Fields):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Parts
    id: Text | None = None
    status: Any = None
    phase: Any = None


class SummaryPart(Fields):
    type: Literal["summary_text"]
    text: Text


class ReasoningPart(Fields):
    type: Literal["reasoning_text"]
    text: Text


class ReasoningItem(Fields):
    """Earlier thinking; the chat template decides what of it the model sees."""

    type: Literal["reasoning"]
    summary: BoundedList[SummaryPart] = Field(default_factory=list)
    content: BoundedList[ReasoningPart] | None = None
    encrypted_content: StrictStr | None = None
    """The continuation token. Only that of the last item counts: its thinking is resumed."""
    id: Text | None = None
    status: Any = None

    @property
    def text(self) -> str:
        """The thinking itself where it is there, else its summary."""
        return "".join(part.text for part in self.content or self.summary)


class CallItem(Fields):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: Text
    name: Annotated[Text, Field(min_length=1)]
    arguments: Text
    parsed_arguments: Any = None
    """Added by OpenAI's SDK, which may send it back."""
    id: Text | None = None
    status: Any = None

    def for_template(self) -> dict[str, Any]:
        """The call as chat templates take it."""
        function = CalledFunction(name=self.name, arguments=self.arguments)
        return CalledTool(id=self.call_id, function=function).for_template()


class CallOutputItem(Fields):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: Text
    output: Parts
    name: Text | None = None
    id: Text | None = None
    status: Any = None


ITEMS: dict[str, type[Fields]] = {
    "message": MessageItem,
    "reasoning": ReasoningItem,
    "function_call": CallItem,
    "function_call_output": CallOutputItem,
}


def _by_type(value: Any) -> Any:
    """Validate an item as the type that it names, so that errors are about that type alone."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    kind = value.get("type", "message")
    if not isinstance(kind, str) or kind not in ITEMS:
        raise ValueError(f"items of type {str(kind)[:40]!r} are not served, only {', '.join(ITEMS)}")
    # The SDK writes out every field of an item; those without a value mean nothing.
    return ITEMS[kind].model_validate({name: one for name, one in value.items() if one is not None})


Item = Annotated[MessageItem | ReasoningItem | CallItem | CallOutputItem, BeforeValidator(_by_type)]


def _text_or_items(value: Any) -> Any:
    if not isinstance(value, str):
        if not isinstance(value, list):
            raise ValueError("must be a string or a list of items")
        return value
    if not whole_characters(value).strip():
        raise ValueError("the prompt is empty")
    return [{"role": "user", "content": value}]


Items = Annotated[
    BoundedList[Item],
    Field(min_length=1),
    BeforeValidator(_text_or_items, str | list[Item]),
]
"""A string, which is one message of the user's, or a list of items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """The conversation that items make up."""

    turns: list[dict[str, Any]]
    """As the chat template takes them."""
    continuation: str | None
    """Thinking to resume, where the last item is thinking."""
    continuation_field: str | None
    """The field with the continuation."""


def dialogue_of(items: Sequence[Item], instructions: str | None) -> Dialogue:
    """The conversation, which ends with what is to be answered.

    Raises:
        InvalidRequest: there is nothing to answer, or a result without its call; names the item.
    """
    continuation, field = None, None
    last = len(items) - 1
    if isinstance(thinking := items[last], ReasoningItem):
        field = f"input.{last}.encrypted_content"
        continuation = thinking.encrypted_content
        if not continuation:
            raise InvalidRequest(
                f"{field}: required of a reasoning item that comes last, whose thinking is resumed",
                field=field,
            )
        if last == 0:
            raise InvalidRequest(
                "input.0: the items that this thinking came from must be before it", field="input.0"
            )
        items = items[:-1]
    _require_something_to_answer(items)
    turns = _Turns().of(items)
    if instructions:
        turns.insert(0, {"role": "system", "content": instructions})
    return Dialogue(turns=turns, continuation=continuation, continuation_field=field)


def _require_something_to_answer(items: Sequence[Item]) -> None:
    last = len(items) - 1
    match items[last]:
        case MessageItem(role="assistant"):
            raise InvalidRequest(
                f"input.{last}.role: the last message must not be the assistant's", field=f"input.{last}.role"
            )
        case MessageItem(content=content):
            if not _text(content).strip():
                raise InvalidRequest(
                    f"input.{last}.content: the prompt is empty", field=f"input.{last}.content"
                )
        case CallItem():
            raise InvalidRequest(
                f"input.{last}: the last item is a function_call, whose function_call_output is missing",
                field=f"input.{last}",
            )
        case ReasoningItem():
            raise InvalidRequest(
                f"input.{last}: only one reasoning item can be resumed", field=f"input.{last}"
            )


class _Turns:
    """Collects turns: the assistant's thinking, message and calls are one; each other item is a turn."""

    def __init__(self) -> None:
        self._turns: list[dict[str, Any]] = []
        self._call_ids: set[str] = set()

    def of(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """The turns of all items, as chat templates take them."""
        for position, item in enumerate(items):
            self._add(position, item)
        # Thinking without message or calls is no turn, and an empty text no thinking.
        turns = [turn for turn in self._turns if "content" in turn]
        for turn in turns:
            if not turn.get("reasoning_content", "x"):
                del turn["reasoning_content"]
        return turns

    def _add(self, position: int, item: Item) -> None:
        match item:
            case MessageItem(role="assistant"):
                self._assistant()["content"] = _text(item.content)
            case MessageItem():
                role = "system" if item.role == "developer" else item.role
                self._turns.append({"role": role, "content": _text(item.content)})
            case ReasoningItem():
                turn = self._assistant()
                turn["reasoning_content"] = turn.get("reasoning_content", "") + item.text
            case CallItem():
                turn = self._assistant(with_content=True)
                turn.setdefault("content", "")
                turn.setdefault("tool_calls", []).append(item.for_template())
                self._call_ids.add(item.call_id)
            case CallOutputItem():
                if item.call_id not in self._call_ids:
                    field = f"input.{position}.call_id"
                    raise InvalidRequest(f"{field}: no function_call before it has this id", field=field)
                self._turns.append(
                    {"role": "tool", "content": _text(item.output), "tool_call_id": item.call_id}
                )

    def _assistant(self, *, with_content: bool = False) -> dict[str, Any]:
        """The assistant's turn under way, or a new one.

        Args:
            with_content: whether the turn may already have a message or calls.
        """
        last = self._turns[-1] if self._turns else {}
        if last.get("role") == "assistant" and (with_content or "content" not in last):
            return last
        self._turns.append({"role": "assistant"})
        return self._turns[-1]


def _text(parts: Sequence[TextPart]) -> str:
    return "".join(part.text for part in parts)
