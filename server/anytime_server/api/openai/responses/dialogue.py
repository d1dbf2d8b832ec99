"""The conversation that input items make up, as chat templates take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anytime_server.api.openai.responses.input_items import (
    Call,
    InputItem,
    ItemReference,
    MessageItem,
    ReasoningItem,
    Result,
)
from anytime_server.api.openai.responses.tools import Toolbox
from anytime_server.api.schema.messages import CalledFunction, CalledTool
from anytime_server.errors import InvalidRequest, UnknownItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """The conversation that items make up."""

    turns: list[dict[str, Any]]
    """As the chat template takes them."""
    continuation: str | None
    """Thinking to resume, where the last item is thinking."""
    continuation_field: str | None
    """The field with the continuation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Items, of which those of earlier responses come first."""

    items: Sequence[InputItem]
    num_earlier: int = 0
    """Items at the beginning that are not in the request."""

    def field(self, position: int) -> str:
        """The field of an item of the request."""
        return f"input.{position - self.num_earlier}"


def dialogue_of(conversation: Conversation, *, instructions: str | None, toolbox: Toolbox) -> Dialogue:
    """The conversation, which ends with what is to be answered, or with the beginning of the answer.

    Args:
        toolbox: the tools of the request, which calls are named after.

    Raises:
        InvalidRequest: there is nothing to answer, or a result without its call; names the item.
    """
    items = conversation.items
    continuation, field = None, None
    last = len(items) - 1
    if len(items) == conversation.num_earlier:
        raise InvalidRequest("input: there is nothing to answer", field="input")
    if isinstance(thinking := items[last], ReasoningItem) and thinking.encrypted_content:
        field = f"{conversation.field(last)}.encrypted_content"
        continuation = thinking.encrypted_content
        if last == 0:
            raise InvalidRequest(
                "input.0: the items that this thinking came from must be before it", field="input.0"
            )
        items = items[:-1]
        if _is_assistants(items[-1]):
            field = conversation.field(last - 1)
            raise InvalidRequest(f"{field}: only one reasoning item can be resumed", field=field)
    _require_something_to_answer(items, conversation)
    turns = _Turns(conversation, toolbox=toolbox).of(items)
    if instructions:
        turns.insert(0, {"role": "system", "content": instructions})
    return Dialogue(turns=turns, continuation=continuation, continuation_field=field)


def _require_something_to_answer(items: Sequence[InputItem], conversation: Conversation) -> None:
    last = len(items) - 1
    field = conversation.field(last)
    match items[last]:
        case MessageItem(role="assistant") | ReasoningItem():
            if all(_is_assistants(item) for item in items):
                raise InvalidRequest(f"{field}: there is no message before it to answer", field=field)
        case MessageItem(text=text):
            if not text.strip():
                raise InvalidRequest(f"{field}.content: the prompt is empty", field=f"{field}.content")
        case item if item.call is not None and item.result is None:
            raise InvalidRequest(f"{field}: the last item is a call, whose output is missing", field=field)


def _is_assistants(item: InputItem) -> bool:
    return isinstance(item, ReasoningItem) or (isinstance(item, MessageItem) and item.role == "assistant")


class _Turns:
    """Collects turns: the assistant's thinking, message and calls are one; each other item is a turn."""

    def __init__(self, conversation: Conversation, *, toolbox: Toolbox) -> None:
        self._conversation = conversation
        self._toolbox = toolbox
        self._turns: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}
        """Names of functions, by the id of the call."""

    def of(self, items: Sequence[InputItem]) -> list[dict[str, Any]]:
        """The turns of all items, as chat templates take them."""
        for position, item in enumerate(items):
            self._add(self._conversation.field(position), item)
        if isinstance(items[-1], ReasoningItem):
            self._turns[-1].setdefault("content", "")  # its answer is yet to come
        # Other thinking without message or calls is no turn, and an empty text no thinking.
        turns = [turn for turn in self._turns if "content" in turn]
        for turn in turns:
            if not turn.get("reasoning_content", "x"):
                del turn["reasoning_content"]
        return turns

    def _add(self, field: str, item: InputItem) -> None:
        match item:
            case MessageItem(role="assistant"):
                self._assistant()["content"] = item.text
            case MessageItem():
                role = "system" if item.role == "developer" else item.role
                self._turns.append({"role": role, "content": item.text})
            case ReasoningItem():
                turn = self._assistant()
                turn["reasoning_content"] = turn.get("reasoning_content", "") + item.text
            case ItemReference():
                raise not_stored(item.id, field=f"{field}.id")
            case _:
                if (call := item.call) is not None:
                    self._add_call(call)
                if (result := item.result) is not None:
                    self._add_result(result, field)

    def _add_call(self, call: Call) -> None:
        turn = self._assistant(with_content=True)
        turn.setdefault("content", "")
        name = self._toolbox.name_of(call.name, call.namespace)
        function = CalledFunction(name=name, arguments=call.arguments)
        called = CalledTool(id=call.call_id, function=function).for_template()
        turn.setdefault("tool_calls", []).append(called)
        self._names[call.call_id] = name

    def _add_result(self, result: Result, field: str) -> None:
        if (name := self._names.get(result.call_id)) is None:
            raise InvalidRequest(
                f"{field}.call_id: no function_call before it has this id", field=f"{field}.call_id"
            )
        self._turns.append(
            {"role": "tool", "content": result.text, "tool_call_id": result.call_id, "name": name}
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


def not_stored(item_id: str, *, field: str) -> UnknownItem:
    """The error of a reference to an item that is not here."""
    return UnknownItem(
        f"{field}: no stored response has the item {item_id!r}; send the item itself", field=field
    )
