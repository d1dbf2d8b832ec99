"""Conversations and tools that the tests send, and what models write in answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Protocol

import pytest
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ModelTools

from tests.families.checkpoint import Checkpoint

QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "QQQ"}]
TURNS = [{"role": "system", "content": "SYS"}, {"role": "user", "content": "USR"}]
EARLIER_THINKING = [
    {"role": "user", "content": "USR"},
    {"role": "assistant", "content": "ANSWER", "reasoning_content": "THOUGHT"},
    {"role": "user", "content": "AGAIN"},
]
IN_PARTS = {"magistral", "ministral-3-reasoning"}
"""Their templates read earlier thinking as parts of the content."""
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}
WEATHER_IN_ROME = [("get_weather", {"city": "Rome"})]


class Call(Protocol):
    """A tool call that was read."""

    @property
    def name(self) -> str: ...

    @property
    def arguments(self) -> str: ...


def tool_loop(checkpoint: Checkpoint, **message: Any) -> list[dict[str, Any]]:
    """A question, a call of a tool and its result.

    Args:
        message: further keys of the message with the call.
    """
    facts = checkpoint.facts
    arguments: Any = {"city": "Rome"} if facts.arguments == "object" else '{"city": "Rome"}'
    call_id = "functions.get_weather:0" if facts.tool_parser == "kimi_k2" else "call00001"
    call = {
        "id": call_id,
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments},
    }
    result = {"role": "tool", "tool_call_id": call_id, "name": "get_weather", "content": "sunny"}
    return [
        *QUESTION,
        {"role": "assistant", "content": facts.content_of_calls, "tool_calls": [call], **message},
        result,
    ]


def shows_earlier_thinking(checkpoint: Checkpoint) -> bool:
    """Whether the prompt of `EARLIER_THINKING` has the thinking."""
    return checkpoint.facts.keeps == "always" or checkpoint.name in IN_PARTS


def tools_of(checkpoint: Checkpoint, model: Model) -> ModelTools:
    """The format of the model's tool calls; skips the test if it has none."""
    tools = ModelTools.of(model, parser=None)
    if tools is None or not checkpoint.facts.tool_call:
        pytest.skip("its template takes no tools, or the format of its calls is not known")
    return tools


def written_call(checkpoint: Checkpoint, model: Model) -> str:
    """A call of get_weather as the chat template renders it."""
    called = model.tokenizer.hugging_face.apply_chat_template(
        tool_loop(checkpoint)[:2],
        tools=[WEATHER],
        tokenize=False,
        **{**model.switch.on, "add_generation_prompt": False},
    )
    assert isinstance(called, str)
    return called[called.rindex(checkpoint.facts.tool_call) :]


def calls_of(calls: Iterable[Call]) -> list[tuple[str, Any]]:
    """Names and arguments of tool calls."""
    return [(call.name, json.loads(call.arguments)) for call in calls]
