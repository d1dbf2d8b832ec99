"""Rendering of prompts: what is rendered together, and which prompts are rendered in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.scheduler.prompts import SHORT_PROMPT
from anytime_server.text.model import Model
from anytime_server.text.prompt import Prompt
from anytime_server.types import GenerateRequest

from .conftest import request

PROMPT_IDS = [257, 22, 12, 18, 259, 258, 260]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("fields", "in_a_thread"),
    [
        ({}, False),
        ({"template_variables": {"note": "7" * (SHORT_PROMPT + 1)}}, True),
        ({"template_variables": {"notes": [{"a": 7}] * SHORT_PROMPT}}, True),
        ({"tools": [TOOLS[0] | {"description": "7" * SHORT_PROMPT}]}, True),
    ],
)
async def test_all_that_is_rendered_counts_as_the_prompts_length(
    compiler_of: Callable[..., Any],
    tiny_model: Model,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    in_a_thread: bool,
) -> None:
    threads = set[int]()

    def render(*_: Any, **__: Any) -> Prompt:
        threads.add(threading.get_ident())
        return Prompt(ids=PROMPT_IDS, is_open=True)

    monkeypatch.setattr(tiny_model, "prompt", render)
    await (await compiler_of(tools=True)).prompts.render(request(**fields))
    assert (threads != {threading.get_ident()}) is in_a_thread


@pytest.mark.parametrize("content", ["7-3", "7" * (SHORT_PROMPT + 1)], ids=["short", "long"])
async def test_tools_are_rendered_with_the_messages(
    compiler_of: Callable[..., Any], tiny_model: Model, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    rendered = []

    prompt = Prompt(ids=PROMPT_IDS, is_open=True)

    def render(messages: Any, tools: Any, **_: Any) -> Prompt:
        rendered.append((messages, tools))
        return prompt

    monkeypatch.setattr(tiny_model, "prompt", render)
    messages = [{"role": "user", "content": content}]
    compiler = await compiler_of(tools=True)
    for tools in (TOOLS, ()):
        assert await compiler.prompts.render(GenerateRequest(messages=messages, tools=tools)) is prompt
    assert rendered == [(messages, TOOLS), (messages, None)]
