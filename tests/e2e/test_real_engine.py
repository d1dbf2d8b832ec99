"""Budgets, deadlines, caching, controls and priorities over HTTP, on vLLM."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from ..servers import RealServer
from .native_api import REQUEST, engine_is_idle, lines_of, open_streams, stream, think

BLOCK_TOKENS = 32


async def test_budgets_are_exact_and_have_an_answer(real_server: RealServer, nightly: bool) -> None:
    budgets = range(301) if nightly else [*range(20), *range(20, 301, 7)]
    limit = asyncio.Semaphore(16)
    async with real_server.client() as client:

        async def think_within(budget: int) -> dict[str, Any]:
            async with limit:
                return await think(client, budget=budget, thinking={"seed": budget})

        bodies = await asyncio.gather(*(think_within(budget) for budget in budgets))
    causes = set()
    for budget, body in zip(budgets, bodies, strict=True):
        stop = body["stop"]
        causes.add(stop["cause"])
        assert stop["thinking_tokens"] <= budget
        if stop["cause"] == "budget":
            assert stop["thinking_tokens"] == budget
        else:
            assert stop["cause"] == "natural"
        assert body["answer"].strip()
        assert body["usage"]["thinking_tokens"] == stop["thinking_tokens"]
        assert 1 <= body["usage"]["answer_tokens"] <= 12
    assert causes == {"budget", "natural"}


async def test_a_seed_repeats_thinking_and_answer(real_server: RealServer) -> None:
    async with real_server.client() as client:
        first, again, other = [await think(client, budget=40, thinking={"seed": seed}) for seed in (1, 1, 2)]
    assert (first["thinking"], first["answer"]) == (again["thinking"], again["answer"])
    assert first["thinking"] != other["thinking"]


@pytest.mark.parametrize("budget", [1, 20, 57, 58, 100, 250])
async def test_answers_reuse_the_cached_prompt_and_thinking(real_server: RealServer, budget: int) -> None:
    async with real_server.client() as client:
        body = await think(client, budget=budget, thinking={"seed": 7 + budget})
    # The last thinking token is sampled but not computed, so it is in no block yet.
    computed = body["usage"]["prompt_tokens"] + body["usage"]["thinking_tokens"] - 1
    assert body["usage"]["cached_tokens"] >= computed // BLOCK_TOKENS * BLOCK_TOKENS


async def test_concurrent_streams_each_end_in_one_done(real_server: RealServer) -> None:
    draw = random.Random(0)
    budgets = [draw.randint(0, 300) for _ in range(64)]
    async with real_server.client() as client:
        results = await asyncio.gather(*(stream(client, budget=budget) for budget in budgets))
        await engine_is_idle(client)
    for budget, events in zip(budgets, results, strict=True):
        assert [event["type"] for event in events if event["type"] in ("done", "error")] == ["done"]
        assert events[-1]["stop"]["thinking_tokens"] <= budget
        assert events[-1]["answer"].strip()


async def test_a_deadline_truncates_the_thinking(real_server: RealServer) -> None:
    async with real_server.client() as client:
        for deadline_ms in (600, 1200, 2400):  # on a busy machine an answer alone can take the shortest
            body = await think(client, budget={"deadline_ms": deadline_ms}, thinking={"seed": 5})
            if body["stop"]["thinking_tokens"]:
                break
    assert body["stop"]["cause"] == "deadline"
    assert 0 < body["stop"]["thinking_tokens"] < 400
    assert body["answer"].strip()


@pytest.mark.parametrize("num_events", [1, 5, 42])
async def test_a_closed_stream_leaves_nothing_running(real_server: RealServer, num_events: int) -> None:
    """Closed during the prefill, the thinking and the answer."""
    async with real_server.client() as client:
        seen = 0
        async with client.stream("POST", "/v1/anytime", json=REQUEST | {"budget": 40}) as response:
            async for line in lines_of(response):
                seen += line.startswith("data: ")
                if seen == num_events:
                    break
        await engine_is_idle(client)


async def test_answer_now_truncates_the_thinking(real_server: RealServer) -> None:
    events: list[dict[str, Any]] = []
    accepted: httpx2.Response | None = None
    async with (
        real_server.client() as client,
        client.stream("POST", "/v1/anytime", json=REQUEST | {"thinking": {"seed": 5}}) as response,
    ):
        async for line in lines_of(response):
            if line.startswith("data: "):
                events.append(json.loads(line[6:]))
                if len(events) == 4:
                    accepted = await client.post(f"/v1/anytime/{events[0]['id']}/answer")
    assert accepted is not None
    assert accepted.status_code == 202
    assert events[-1]["stop"]["cause"] == "client"
    assert events[-1]["stop"]["thinking_tokens"] == accepted.json()["at_tokens"]
    assert events[-1]["answer"].strip()


async def test_the_openai_sdk_gets_budget_and_usage(real_server: RealServer) -> None:
    def complete() -> tuple[Any, list[Any]]:
        with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "7-3"}]
            extra = {"thinking_token_budget": 30}
            whole = client.chat.completions.create(model="tiny", messages=messages, seed=3, extra_body=extra)
            chunks = client.chat.completions.create(
                model="tiny", messages=messages, seed=3, extra_body=extra, stream=True
            )
            return whole, list(chunks)

    whole, chunks = await asyncio.to_thread(complete)
    stop = whole.anytime["stop"]
    assert stop["budget_tokens"] == 30
    assert whole.usage.completion_tokens_details.reasoning_tokens == stop["thinking_tokens"] <= 30
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert content == whole.choices[0].message.content
    assert content.strip()
    assert chunks[-1].anytime["stop"] == stop


async def test_invalid_requests_leave_the_server_ready(real_server: RealServer) -> None:
    async with real_server.client() as client:
        for fields in ({"budget": -1}, {"budget": 10**9}, {"messages": []}, {"seed": 1}):
            response = await client.post("/v1/anytime", json=REQUEST | fields)
            assert response.status_code == 422
        long = {"messages": [{"role": "user", "content": "7" * 600}]}
        assert (await client.post("/v1/anytime", json=long)).status_code == 422
        assert (await think(client, budget=3, thinking={"seed": -(2**63)}))["answer"].strip()
        assert (await think(client, budget=3, thinking={"seed": 2**63 - 1}))["answer"].strip()
        assert (await client.get("/ready")).status_code == 200


async def test_requests_that_only_need_an_answer_do_not_wait_for_thinking(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--vllm.max-num-seqs", "1")
    async with server.client() as client:
        long = await open_streams(client, [{"thinking": {"seed": seed}} for seed in range(4)])
        answered = await asyncio.gather(think(client, budget=0), think(client, budget={"deadline_ms": 50}))
        assert not all(stream.done() for stream in long)
        assert [body["stop"]["thinking_tokens"] for body in answered] == [0, 0]
        assert [body["stop"]["cause"] for body in answered] == ["budget", "deadline"]
        for stream in long:
            stream.cancel()
        await asyncio.gather(*long, return_exceptions=True)
        await engine_is_idle(client)
    assert await asyncio.to_thread(server.stop) == 0
