"""Sampling options over HTTP on vLLM; a strong bias decides what the random model samples."""

from __future__ import annotations

from typing import Any

import pytest

from ..servers import RealServer

SEVEN, EIGHT = "22", "23"
"""Token ids of the digits."""
BODY: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "7-3"}],
    "max_tokens": 24,
    "thinking_token_budget": 4,
    "temperature": 0,
    "logit_bias": {SEVEN: 100, EIGHT: 90},
}


async def complete(real_server: RealServer, **fields: Any) -> dict[str, Any]:
    async with real_server.client() as client:
        response = await client.post("/v1/chat/completions", json=BODY | fields)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("fields", "content", "finish_reason"),
    [
        ({}, "7" * 20, "length"),
        ({"temperature": 2, "top_k": 1}, "7" * 20, "length"),
        ({"temperature": 2, "min_p": 1}, "7" * 20, "length"),
        ({"bad_words": ["77"]}, "78" * 10, "length"),
        ({"bad_words": ["77"], "stop_token_ids": [int(EIGHT)]}, "7", "stop"),
    ],
)
async def test_options_reach_the_engine(
    real_server: RealServer, fields: dict[str, Any], content: str, finish_reason: str
) -> None:
    [choice] = (await complete(real_server, **fields))["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, finish_reason)


async def test_ignored_ends_fill_the_total(real_server: RealServer) -> None:
    body = await complete(real_server, logit_bias={}, temperature=1, seed=3, ignore_eos=True)
    assert body["usage"]["completion_tokens"] == 24
    assert body["choices"][0]["finish_reason"] == "length"


async def test_answer_without_a_limit_fills_the_window(real_server: RealServer) -> None:
    """The prompt has 7 tokens of 512, and 12 are inserted."""
    body = await complete(real_server, max_tokens=None)
    assert body["choices"][0]["message"]["content"] == "7" * (512 - 7 - 12 - 4)
    assert body["usage"]["total_tokens"] == 512 - 12
