"""Prompt tokens found in the prefix cache, as each dialect counts them."""

from __future__ import annotations

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
