"""Prompt tokens found in the prefix cache, as each dialect counts them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from anytime_server.engine.base import Delta, EngineRequest
from anytime_server.engine.scripted import ScriptedEngine

from .conftest import QUESTION

NUM_CACHED, NUM_PROMPT = 4, 7
CACHED_BY_ANSWER = 208
"""The answer's prompt contains the thinking, so that more tokens are cached than the prompt has."""
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": QUESTION,
    "/v1/responses": {"input": "7-3"},
    "/v1/messages": QUESTION | {"max_tokens": 100, "thinking": {"type": "enabled", "budget_tokens": 20}},
}
BEGUN = {"role": "assistant", "content": "It is "}


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the engine report cached tokens, more for answers than for thinking."""
    generate = ScriptedEngine.generate

    async def generate_cached(engine: ScriptedEngine, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        num_cached = CACHED_BY_ANSWER if "-answer-" in request.id else NUM_CACHED
        async for delta in generate(engine, request):
            yield replace(delta, cached_tokens=num_cached)

    monkeypatch.setattr(ScriptedEngine, "generate", generate_cached)


async def usage(served: Any, path: str) -> dict[str, Any]:
    server = await served()
    response = await server.http.post(path, json={"model": "tiny"} | REQUESTS[path])
    assert response.status_code == 200, response.text
    return response.json()["usage"]


@pytest.mark.usefixtures("cached")
async def test_openai_counts_cached_tokens_within_the_prompt(served: Any) -> None:
    reported = await usage(served, "/v1/chat/completions")
    assert reported["prompt_tokens"] == NUM_PROMPT
    assert reported["prompt_tokens_details"]["cached_tokens"] == NUM_CACHED
    reported = await usage(served, "/v1/responses")
    assert reported["input_tokens"] == NUM_PROMPT
    assert reported["input_tokens_details"]["cached_tokens"] == NUM_CACHED


@pytest.mark.usefixtures("cached")
async def test_anthropic_counts_cached_tokens_separately(served: Any) -> None:
    reported = await usage(served, "/v1/messages")
    assert reported["input_tokens"] == NUM_PROMPT - NUM_CACHED
    assert reported["cache_read_input_tokens"] == NUM_CACHED


STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "whole": ("/v1/chat/completions", QUESTION | {"n": 3}),
    "without thinking": ("/v1/chat/completions", QUESTION | {"n": 2, "reasoning_effort": "none"}),
    "streamed": ("/v1/chat/completions", QUESTION | STREAMED | {"thinking_token_budget": 0}),
    "begun": ("/v1/chat/completions", {"messages": [*QUESTION["messages"], BEGUN]}),
    "completions": ("/v1/completions", {"prompt": ["7-3", "9"], "n": 2}),
    "completions streamed": ("/v1/completions", STREAMED | {"prompt": ["7-3", "9"]}),
    "responses streamed": (
        "/v1/responses",
        {"input": "7-3", "stream": True, "reasoning": {"effort": "none"}},
    ),
    "messages without thinking": ("/v1/messages", QUESTION | {"max_tokens": 60}),
    "messages streamed": ("/v1/messages", QUESTION | {"max_tokens": 60, "stream": True}),
}
NAMES = {"prompt": ("prompt_tokens", "input_tokens"), "cached": ("cached_tokens", "cache_read_input_tokens")}


def numbers(text: str, kind: str) -> list[int]:
    """Numbers of a response's usage, whatever the dialect; not those of the `anytime` object."""
    named = "|".join(NAMES[kind])
    usage = re.sub(r'"anytime":\{.*?"ignored":\[.*?\]\}', "", text)
    return [int(number) for number in re.findall(rf'"(?:{named})":(\d+)', usage)]


@pytest.mark.usefixtures("cached")
async def test_no_more_tokens_are_cached_than_the_prompt_has(served: Any) -> None:
    server = await served()
    for shape, (path, body) in SHAPES.items():
        text = (await server.http.post(path, json={"model": "tiny"} | body)).text
        prompts, cached = numbers(text, "prompt"), numbers(text, "cached")
        assert max(cached) > 0, shape
        if path == "/v1/messages":  # it counts them apart
            assert (prompts[-1], cached[-1]) == (0, NUM_PROMPT), shape
        else:
            assert max(cached) <= max(prompts), shape


@pytest.mark.usefixtures("cached")
async def test_resumed_thinking_is_a_part_of_the_prompt(served: Any) -> None:
    server = await served(never_end=True)
    body = {"model": "tiny"} | QUESTION | {"thinking_token_budget": 20}
    first = (await server.http.post("/v1/chat/completions", json=body)).json()
    body |= {"anytime": {"continuation": first["anytime"]["continuation"]}, "thinking_token_budget": 0}
    usage = (await server.http.post("/v1/chat/completions", json=body)).json()["usage"]
    assert usage["prompt_tokens"] == NUM_PROMPT + 20
    assert usage["prompt_tokens_details"]["cached_tokens"] == NUM_PROMPT + 20
