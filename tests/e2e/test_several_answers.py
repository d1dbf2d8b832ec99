"""Several answers from one run, and thinking that goes on, on real vLLM."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema

from ..servers import RealServer
from .asking import QUESTION, engine_is_idle, open_streams, think

GREEDY = {"temperature": 0.0, "seed": 1}
SAMPLED = {"temperature": 1.0, "seed": 5}
SCHEMA = {
    "type": "object",
    "properties": {"digit": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["digit"],
    "additionalProperties": False,
}


async def test_a_provisional_answer_is_that_of_a_request_with_its_budget(real_server: RealServer) -> None:
    budgets = [0, 1, 31, 33, 100]
    async with real_server.client() as client:
        for thinking in (GREEDY, SAMPLED):
            ladder = await think(client, budget=120, budgets=budgets, thinking=thinking)
            alone = [await think(client, budget=budget, thinking=thinking) for budget in budgets]
            found = {answer["at_tokens"]: answer["text"] for answer in ladder["answers"]}
            assert ladder["stop"]["thinking_tokens"] > budgets[-1], "the seeds must be of long thinking"
            assert [found[budget] for budget in budgets] == [body["answer"] for body in alone]
            assert all(ladder["thinking"].startswith(body["thinking"]) for body in alone)
            assert ladder["usage"]["provisional_tokens"] == sum(
                answer["answer_tokens"] for answer in ladder["answers"] if answer["provisional"]
            )


async def test_many_ladders_at_once_lose_nothing(real_server: RealServer) -> None:
    requests = [
        {"budget": 60, "budgets": [10, 11, 12, 40], "thinking": {"seed": number}} for number in range(40)
    ]
    async with real_server.client() as client:
        results = await asyncio.gather(*await open_streams(client, requests))
        await engine_is_idle(client)
    for said in results:
        done = [event for event in said if event["type"] == "answer.done"]
        thought = said[-1]["stop"]["thinking_tokens"]
        cause = said[-1]["stop"]["cause"]
        ladder = [budget for budget in (10, 11, 12, 40) if budget < thought or cause == "budget"]
        assert sorted(answer["at_tokens"] for answer in done) == [*ladder, thought]
        assert all(answer["text"].strip() for answer in done)


async def test_thinking_on_is_thinking_longer(real_server: RealServer) -> None:
    async with real_server.client() as client:
        whole = await think(client, budget=50, thinking=GREEDY)
        first = await think(client, budget=20, thinking=GREEDY)
        second = await think(client, budget=30, thinking=GREEDY, continuation=first["continuation"])
    assert first["thinking"] + second["thinking"] == whole["thinking"]
    assert second["answer"] == whole["answer"]
    assert second["usage"]["cached_tokens"] >= 32  # found what the first one computed


async def test_extended_thinking_is_thinking_longer(real_server: RealServer) -> None:
    said: list[dict[str, Any]] = []
    extended: Any = None
    async with real_server.client() as client:
        whole = await think(client, budget=150, thinking=GREEDY)
        body = QUESTION | {"budget": 100, "thinking": GREEDY}
        async with client.stream("POST", "/v1/anytime", json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    said.append(json.loads(line[6:]))
                    if len(said) == 2:
                        path = f"/v1/anytime/{said[0]['id']}/extend"
                        extended = await client.post(path, json={"tokens": 50})
    assert extended.json()["budget_tokens"] == 150
    assert said[-1]["stop"] == whole["stop"]
    assert whole["stop"]["thinking_tokens"] > 100
    thinking = "".join(event["text"] for event in said if event["type"] == "thinking")
    assert (thinking, said[-1]["answer"]) == (whole["thinking"], whole["answer"])


async def test_an_answer_in_the_form_that_is_asked_for(real_server: RealServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "digit", "schema": SCHEMA}}
    answer = {"response_format": form, "max_tokens": 60}
    async with real_server.client() as client:
        bodies = [await think(client, budget=budget, answer=answer) for budget in (0, 40)]
        bad = {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 3}}}}
        refused = await client.post("/v1/anytime", json=QUESTION | {"answer": bad})
    for body in bodies:
        jsonschema.validate(json.loads(body["answer"]), SCHEMA)
        assert not body["thinking"].startswith("{")  # which is free
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "answer.response_format")
