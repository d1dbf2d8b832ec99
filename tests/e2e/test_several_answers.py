"""Early answers, continuations, extensions and structured answers on vLLM."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import jsonschema

from ..servers import RealServer
from .native_api import REQUEST, engine_is_idle, lines_of, open_streams, think

GREEDY = {"temperature": 0.0, "seed": 1}
SAMPLED = {"temperature": 1.0, "seed": 5}
SCHEMA = {
    "type": "object",
    "properties": {"digit": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["digit"],
    "additionalProperties": False,
}


async def long_thinking_request(client: httpx2.AsyncClient, thinking: dict[str, Any]) -> dict[str, Any]:
    """Fields of a request that thinks for over 150 tokens. The CPU's arithmetic decides which prompts do."""
    for number in range(20):
        fields = {"messages": [{"role": "user", "content": f"{number}+2"}], "thinking": thinking}
        if (await think(client, budget=151, **fields))["stop"]["thinking_tokens"] == 151:
            return fields
    raise AssertionError("no prompt leads to long thinking")


async def test_an_early_answer_equals_that_of_a_request_with_its_budget(real_server: RealServer) -> None:
    budgets = [0, 1, 31, 33, 100]
    async with real_server.client() as client:
        for thinking in (GREEDY, SAMPLED):
            fields = await long_thinking_request(client, thinking)
            response = await think(client, budget=120, budgets=budgets, **fields)
            alone = [await think(client, budget=budget, **fields) for budget in budgets]
            found = {answer["at_tokens"]: answer["text"] for answer in response["answers"]}
            assert response["stop"]["thinking_tokens"] > budgets[-1]
            assert [found[budget] for budget in budgets] == [body["answer"] for body in alone]
            assert all(response["thinking"].startswith(body["thinking"]) for body in alone)
            assert response["usage"]["provisional_tokens"] == sum(
                answer["answer_tokens"] for answer in response["answers"] if answer["provisional"]
            )


async def test_concurrent_requests_get_all_their_early_answers(real_server: RealServer) -> None:
    requests = [
        {"budget": 60, "budgets": [10, 11, 12, 40], "thinking": {"seed": number}} for number in range(40)
    ]
    async with real_server.client() as client:
        results = await asyncio.gather(*await open_streams(client, requests))
        await engine_is_idle(client)
    for events in results:
        done = [event for event in events if event["type"] == "answer.done"]
        num_thinking = events[-1]["stop"]["thinking_tokens"]
        cause = events[-1]["stop"]["cause"]
        reached = [budget for budget in (10, 11, 12, 40) if budget < num_thinking or cause == "budget"]
        assert sorted(answer["at_tokens"] for answer in done) == [*reached, num_thinking]
        assert all(answer["text"].strip() for answer in done)


async def test_continued_thinking_equals_longer_thinking(real_server: RealServer) -> None:
    async with real_server.client() as client:
        fields = await long_thinking_request(client, GREEDY)
        whole = await think(client, budget=50, **fields)
        first = await think(client, budget=20, **fields)
        second = await think(client, budget=30, continuation=first["continuation"], **fields)
    assert first["thinking"] + second["thinking"] == whole["thinking"]
    assert second["answer"] == whole["answer"]
    assert second["usage"]["cached_tokens"] >= 32  # the blocks that the first request computed


async def test_extended_thinking_equals_longer_thinking(real_server: RealServer) -> None:
    events: list[dict[str, Any]] = []
    extended: Any = None
    async with real_server.client() as client:
        fields = await long_thinking_request(client, GREEDY)
        whole = await think(client, budget=150, **fields)
        body = REQUEST | {"budget": 100} | fields
        async with client.stream("POST", "/v1/anytime", json=body) as response:
            async for line in lines_of(response):
                if line.startswith("data: "):
                    events.append(json.loads(line[6:]))
                    if len(events) == 2:
                        path = f"/v1/anytime/{events[0]['id']}/extend"
                        extended = await client.post(path, json={"tokens": 50})
    assert extended.json()["budget_tokens"] == 150
    assert events[-1]["stop"] == whole["stop"]
    assert whole["stop"]["thinking_tokens"] > 100
    thinking = "".join(event["text"] for event in events if event["type"] == "thinking")
    assert (thinking, events[-1]["answer"]) == (whole["thinking"], whole["answer"])


async def test_an_answer_follows_its_json_schema(real_server: RealServer) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "digit", "schema": SCHEMA}}
    answer = {"response_format": response_format, "max_tokens": 60}
    async with real_server.client() as client:
        bodies = [await think(client, budget=budget, answer=answer) for budget in (0, 40)]
        bad = {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 3}}}}
        refused = await client.post("/v1/anytime", json=REQUEST | {"answer": bad})
    for body in bodies:
        jsonschema.validate(json.loads(body["answer"]), SCHEMA)
        assert not body["thinking"].startswith("{")  # the schema applies to the answer alone
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "answer.response_format")
