"""A model's chat template: which variables it has, and conversations rendered by it. Knows no token ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from anytime_server.errors import InvalidRequest, first_line
from anytime_server.printable import is_encodable, shortened
from anytime_server.reasoning import Switch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Turns = Sequence[Mapping[str, Any]]

SWITCHES = {"enable_thinking": (True, False), "thinking": (True, False)}
"""Variables with which most templates turn thinking on and off."""
MAX_REASON = 200
"""Characters of a template's own error."""
KIMI_CALLS = "<|tool_calls_section_begin|>"
"""Begins the calls of Kimi-K2, whose ids name the function and count the calls. It is looked for in the
template, since the Kimi models that do not think have the same calls."""
_OF_A_MESSAGE = r"""\b(?:message|msg|m|turn)\w*(?:\.|\[\s*['"]|\.get\(\s*['"])"""
_IN_A_MESSAGE = r"""['"]{key}['"]\s+in\s+(?:message|msg|m|turn)"""


class ChatTemplate:
    """Renders conversations, adapted to what the template reads and accepts."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """
        Args:
            tokenizer: has a chat template.
        """
        self._tokenizer = tokenizer

    @cached_property
    def text(self) -> str:
        """The template."""
        return self._tokenizer.get_chat_template()

    @cached_property
    def text_with_tools(self) -> str:
        """The template of conversations with tools."""
        return self._tokenizer.get_chat_template(tools=[{}])

    @property
    def takes_tools(self) -> bool:
        """Whether the template shows tools to the model (`tool_calls` alone are earlier turns)."""
        return re.search(r"\btools\b", self.text_with_tools) is not None

    @cached_property
    def variables(self) -> frozenset[str]:
        """Variables that the template reads and does not set itself."""
        from jinja2 import Environment, TemplateError
        from jinja2.meta import find_undeclared_variables

        environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        try:
            return frozenset(find_undeclared_variables(environment.parse(self.text)))
        except TemplateError:  # a tag of transformers' own
            return frozenset(re.findall(r"\b[a-z_]+\b", self.text))

    def switch(self, switch: Switch | None) -> Switch:
        """How this template turns thinking on and off, where the family does not say."""
        if switch is not None:
            return switch
        known = {name: values for name, values in SWITCHES.items() if name in self.variables}
        return Switch(
            on={name: on for name, (on, _) in known.items()},
            off={name: off for name, (_, off) in known.items()},
        )

    def render(
        self,
        turns: Turns,
        tools: Sequence[dict[str, Any]] | None = None,
        *,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of a conversation, ready for the assistant's turn.

        Where the template raises on the order of roles, messages are merged until it accepts them.

        Args:
            tools: what the model may call, each `{"type": "function", "function": {...}}`.
            variables: of the template.

        Raises:
            InvalidRequest: the chat template refuses these messages, or these tools, or what it makes of
                them is no text.
        """
        adapted = [self._adapted(turn) for turn in turns]
        if KIMI_CALLS in self.text_with_tools:
            adapted = _with_numbered_calls(adapted)
        orders = chain(_orders(adapted), _with_wrapped_arguments(adapted))
        text = self._rendered(orders, list(tools) if tools else None, variables or {})
        if not is_encodable(text):
            raise InvalidRequest(
                "messages: must be text, but have half of a surrogate pair", field="messages"
            )
        return text

    def _rendered(
        self,
        orders: Iterator[list[dict[str, Any]]],
        tools: list[dict[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> str:
        first: Exception | None = None
        described = tools and [_described(tool) for tool in tools]
        shown_tools: tuple[Any, ...] = (tools,) if described == tools else (tools, described)
        for turns, shown in ((turns, shown) for turns in orders for shown in shown_tools):
            try:
                text = self._tokenizer.apply_chat_template(
                    turns,
                    tools=shown,
                    add_generation_prompt=True,
                    tokenize=False,
                    **variables,
                )
            except Exception as error:  # of any type: a template computes with what it is given
                first = first or error
            else:
                assert isinstance(text, str)
                return text
        assert first is not None
        refused = "messages with these tools" if tools else "messages"
        raise InvalidRequest(
            f"the model's chat template refuses these {refused}: {shortened(first_line(first), MAX_REASON)}",
            field="messages",
        ) from first

    def _adapted(self, turn: Mapping[str, Any]) -> dict[str, Any]:
        """A turn with its thinking under the names that the template reads."""
        adapted = dict(turn)
        thinking = adapted.get("reasoning_content")
        if not thinking:
            return adapted
        if self._reads("reasoning"):
            adapted["reasoning"] = thinking
        if self._reads("thinking"):
            adapted["thinking"] = thinking
            if adapted.get("tool_calls") and adapted.get("content"):  # gpt-oss refuses to have both
                adapted |= {"thinking": f"{thinking}\n\n{adapted['content']}", "content": ""}
        elif self._reads_parts:
            parts = [{"type": "thinking", "thinking": thinking}]
            if adapted.get("content"):
                parts.append({"type": "text", "text": adapted["content"]})
            adapted["content"] = parts
        return adapted

    def _reads(self, key: str) -> bool:
        """Whether the template reads this field of a message."""
        pattern = f"{_OF_A_MESSAGE}{key}\\b|{_IN_A_MESSAGE.format(key=key)}"
        return re.search(pattern, self.text_with_tools) is not None

    @cached_property
    def _reads_parts(self) -> bool:
        """Whether the template takes thinking as a part of a message's content."""
        return (
            re.search(r"""\[?['"]?type['"]?\]?\s*==\s*['"]thinking['"]""", self.text_with_tools) is not None
        )


def with_system_switch(turns: Turns, switch: Switch, *, thinking: bool) -> list[dict[str, Any]]:
    """The conversation with the family's switch in its system message, unless one is there already."""
    wanted = switch.system_on if thinking else switch.system_off
    copied = [dict(turn) for turn in turns]
    system = next((turn for turn in copied if turn["role"] == "system"), None)
    if not wanted or (
        system is not None
        and any(text in system["content"] for text in (switch.system_on, switch.system_off) if text)
    ):
        return copied
    if system is None:
        return [{"role": "system", "content": wanted}, *copied]
    system["content"] = f"{wanted}\n\n{system['content']}"
    return copied


def _described(tool: dict[str, Any]) -> dict[str, Any]:
    """The tool with what some templates require, and a client may leave out."""
    usual = {"description": "", "parameters": {"type": "object", "properties": {}}}
    return tool | {"function": usual | tool["function"]}


def _with_numbered_calls(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation with the ids `functions.NAME:NUMBER` of calls: nothing else names the function."""
    ids: dict[Any, str] = {}
    numbered = [dict(turn) for turn in turns]
    number = 0
    for turn in numbered:
        calls = [dict(call) for call in turn.get("tool_calls") or ()]
        for call in calls:
            ids[call.get("id")] = call["id"] = f"functions.{call['function']['name']}:{number}"
            number += 1
        if calls:
            turn["tool_calls"] = calls
        elif turn.get("tool_call_id") in ids:
            turn["tool_call_id"] = ids[turn["tool_call_id"]]
    return numbered


def _with_wrapped_arguments(turns: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """For templates that read the arguments of calls as objects: other text becomes a member of one."""
    wrapped = [dict(turn) for turn in turns]
    for turn in wrapped:
        if calls := turn.get("tool_calls"):
            turn["tool_calls"] = [_with_object(call) for call in calls]
    if wrapped != turns:
        yield from _orders(wrapped)


def _with_object(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping) or isinstance(arguments := function.get("arguments"), Mapping):
        return call
    return {**call, "function": {**function, "arguments": {"arguments": arguments}}}


def _orders(turns: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The conversation as it is, then in orders that stricter templates accept."""
    yield turns
    for change in (_system_first, _alternating, _system_in_the_first_turn):
        changed = change(turns)
        if changed != turns:
            turns = changed
            yield turns


def _system_first(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system = [turn for turn in turns if turn["role"] == "system"]
    if not system:
        return turns
    content = "\n\n".join(turn["content"] for turn in system)
    return [{"role": "system", "content": content}, *(t for t in turns if t["role"] != "system")]


def _alternating(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbours of one role in one turn, if they are text alone."""
    merged: list[dict[str, Any]] = []
    for turn in turns:
        last = merged[-1] if merged else None
        if last is not None and last["role"] == turn["role"] and _is_text(last) and _is_text(turn):
            merged[-1] = last | {"content": f"{last['content']}\n\n{turn['content']}"}
        else:
            merged.append(turn)
    return merged


def _is_text(turn: Mapping[str, Any]) -> bool:
    return turn.keys() == {"role", "content"} and isinstance(turn["content"], str)


def _system_in_the_first_turn(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For templates without a system role."""
    if len(turns) < 2 or turns[0]["role"] != "system" or turns[1]["role"] != "user":
        return turns
    content = f"{turns[0]['content']}\n\n{turns[1]['content']}"
    return [turns[1] | {"content": content}, *turns[2:]]
