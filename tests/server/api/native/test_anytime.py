"""Native requests with several answers, controls and continuation tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ..conftest import QUESTION, Served


@asynccontextmanager
async def under_way(server: Served, **fields: Any) -> AsyncGenerator[tuple[str, asyncio.Task[Any]], None]:
    """Open a stream; yields the session's id and a task that collects the rest of its events."""
    async with server.http.stream("POST", "/v1/anytime", json=QUESTION | fields) as response:
        lines = response.aiter_lines()
        line = await anext(line async for line in lines if line.startswith("data: "))

        async def rest() -> list[dict[str, Any]]:
            return [json.loads(line[6:]) async for line in lines if line.startswith("data: ")]

        yield json.loads(line[6:])["id"], asyncio.create_task(rest())


async def test_early_answers_are_streamed_during_the_thinking(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.002, settle_after=99)
    emitted = await server.stream(budget=30, budgets=[20, 10])
    positions = {
        event["at_tokens"]: number for number, event in enumerate(emitted) if event["type"] == "answer.done"
    }
    assert list(positions) == [10, 20, 30]
    assert positions[10] < max(n for n, event in enumerate(emitted) if event["type"] == "thinking")
    started = [event for event in emitted if event["type"] == "answer.started"]
    assert [(e["provisional"], e["cause"]) for e in started] == [
        (True, None),
        (True, None),
        (False, "budget"),
    ]
    assert "tokens" not in next(event for event in emitted if event["type"] == "answer.delta")


async def test_early_answers_in_a_whole_body(served: Any) -> None:
    server = await served(never_end=True, settle_after=99, seconds_per_token=0.001)
    body = await server.think(budget=30, budgets=[0, 10, 20])
    found = [(a["at_tokens"], a["provisional"], a["text"]) for a in body["answers"]]
    assert found == [(0, True, "0"), (10, True, "10"), (20, True, "20"), (30, False, "30")]
    assert set(body["answers"][0]) == {
        "index", "at_tokens", "provisional", "text", "answer_tokens", "confidence", "finish_reason"
    }  # fmt: skip
    assert body["answer"] == "30"
    assert body["usage"]["provisional_tokens"] == sum(a["answer_tokens"] for a in body["answers"][:3])


@pytest.mark.parametrize(
    ("stop_when", "tokens"),
    [
        ({"loop": True}, 128),
        ({"loop": {"repeats": 3, "min_tokens": 25}}, 30),
        ({"loop": {"min_tokens": 200}, "stable": 900, "every_tokens": 150}, 200),
    ],
)
async def test_thinking_stops_at_a_repetition_loop(
    served: Any, stop_when: dict[str, Any], tokens: int
) -> None:
    server = await served(never_end=True, fault="loop", answer="42")
    body = await server.think(budget=400, stop_when=stop_when)
    assert (body["stop"]["cause"], body["stop"]["thinking_tokens"]) == ("loop", tokens)
    assert body["answer"] == "42"
    metrics = (await server.http.get("/metrics")).text
    assert 'anytime_answers_total{cause="loop",model="tiny"} 1.0' in metrics


@pytest.mark.parametrize("stop_when", [None, {"loop": False}])
async def test_repetition_loop_goes_on_where_it_is_not_to_stop(served: Any, stop_when: Any) -> None:
    server = await served(never_end=True, fault="loop")
    body = await server.think(budget=300, stop_when=stop_when)
    assert (body["stop"]["cause"], body["stop"]["thinking_tokens"]) == ("budget", 300)


async def test_thinking_stops_when_answers_are_stable(served: Any) -> None:
    server = await served(never_end=True, settle_after=10, seconds_per_token=0.001)
    body = await server.think(budget=400, stop_when={"stable": 3, "every_tokens": 4})
    assert body["stop"]["cause"] == "stable"
    assert 20 <= body["stop"]["thinking_tokens"] < 60
    assert body["usage"]["provisional_tokens"] > 0
    metrics = (await server.http.get("/metrics")).text
    assert f"anytime_provisional_tokens_total {float(body['usage']['provisional_tokens'])}" in metrics
    assert 'anytime_answers_total{cause="stable",model="tiny"} 1.0' in metrics


async def test_extend_raises_the_budget(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.005)
    async with under_way(server, budget=20) as (session_id, rest):
        response = await server.http.post(f"/v1/anytime/{session_id}/extend", json={"tokens": 10})
        assert response.status_code == 202
        assert response.json()["budget_tokens"] == 30
        done = (await rest)[-1]
    assert done["stop"] == {"cause": "budget", "budget_tokens": 30, "thinking_tokens": 30}
    late = await server.http.post(f"/v1/anytime/{session_id}/extend", json={"tokens": 10})
    assert late.status_code == 404


async def test_controls_after_answer_now_get_409(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.02, answer="x" * 11)
    async with under_way(server, budget=400) as (session_id, rest):
        paths = [f"/v1/anytime/{session_id}/{control}" for control in ("answer", "answer", "extend")]
        responses = [await server.http.post(path, json={"tokens": 1}) for path in paths]
        assert [response.status_code for response in responses] == [202, 409, 409]
        done = (await rest)[-1]
    assert done["stop"]["cause"] == "client"
    assert done["stop"]["thinking_tokens"] == responses[0].json()["at_tokens"]


@pytest.mark.parametrize(
    "body", [{}, {"tokens": 0}, {"tokens": -4}, {"tokens": "4"}, {"tokens": 4, "more": 1}]
)
async def test_invalid_extend_is_refused(served: Any, body: dict[str, Any]) -> None:
    server = await served(never_end=True, seconds_per_token=0.01)
    async with under_way(server, budget=20) as (session_id, rest):
        response = await server.http.post(f"/v1/anytime/{session_id}/extend", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
        await rest


async def test_continuation_token_resumes_the_thinking(served: Any) -> None:
    server = await served(never_end=True, settle_after=999)
    first = await server.think(budget=10)
    assert first["answer"] == "10"
    second = await server.think(budget=5, budgets=[2], continuation=first["continuation"])
    # The budget counts new thinking; earlier thinking is part of the prompt.
    assert second["stop"] == {"cause": "budget", "budget_tokens": 5, "thinking_tokens": 5}
    assert [(a["at_tokens"], a["text"]) for a in second["answers"]] == [(2, "12"), (5, "15")]
    assert second["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"] + 10
    third = await server.think(budget=0, continuation=second["continuation"])
    assert third["answer"] == "15"


async def test_replica_with_the_same_key_resumes_the_thinking(served: Any) -> None:
    options = {"continuation_key": b"shared by the replicas"}
    first, other = (
        await served(never_end=True, options=options),
        await served(never_end=True, options=options),
    )
    stranger = await served(never_end=True)
    continuation = (await first.think(budget=10))["continuation"]
    assert (await other.think(budget=5, continuation=continuation))["stop"]["thinking_tokens"] == 5
    body = QUESTION | {"continuation": continuation}
    response = await stranger.http.post("/v1/anytime", json=body)
    assert response.status_code == 422
    assert response.json()["error"]["field"] == "continuation"
    assert "another continuation key" in response.json()["error"]["message"]


async def test_thinking_that_the_model_had_ended_cannot_be_resumed(served: Any) -> None:
    server = await served(thinking_tokens=5)
    continuation = (await server.think())["continuation"]
    response = await server.http.post("/v1/anytime", json=QUESTION | {"continuation": continuation})
    assert response.status_code == 422
    assert "had ended this thinking by itself" in response.json()["error"]["message"]


async def test_continuation_token_is_refused_with_other_messages(served: Any) -> None:
    server = await served(never_end=True)
    continuation = (await server.think(budget=3))["continuation"]
    other = {"messages": [{"role": "user", "content": "7-4"}], "continuation": continuation}
    response = await server.http.post("/v1/anytime", json=other)
    assert response.status_code == 422
    assert "another conversation" in response.json()["error"]["message"]


@pytest.mark.parametrize(("forcing", "inserted"), [("close", 4), ("force", 12), (None, 12)])
async def test_forcing_decides_the_inserted_text(served: Any, forcing: str | None, inserted: int) -> None:
    server = await served(never_end=True)
    body = await server.think(budget=5, answer={"forcing": forcing})
    # "...", the think-end, and with `force` "Answer: ".
    assert body["usage"]["inserted_tokens"] == inserted
    assert body["answer"] == "42"


@pytest.mark.parametrize("forcing", ["close", "force"])
async def test_thinking_in_an_answer_is_removed_and_counted(served: Any, forcing: str) -> None:
    server = await served(never_end=True, fault="think_end_twice")
    body = await server.think(budget=5, answer={"forcing": forcing})
    assert body["answer"] == "42"
    metrics = (await server.http.get("/metrics")).text
    assert f'anytime_leaked_answers_total{{forcing="{forcing}"}} 1.0' in metrics
    assert "anytime_leaked_tokens_total 1.0" in metrics


async def test_early_answers_take_slots_at_admission(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.002, max_num_seqs=4, answer="x" * 11)
    max_requests = 0

    async def watch() -> None:
        nonlocal max_requests
        while True:
            max_requests = max(max_requests, server.scheduler.engine.load().num_requests)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    bodies = await asyncio.gather(*(server.think(budget=20, budgets=[4, 5, 6]) for _ in range(4)))
    watching.cancel()
    assert all(len(body["answers"]) == 4 for body in bodies)
    assert max_requests <= 4


async def test_schema_keeps_the_requested_thinking(served: Any) -> None:
    server = await served(never_end=True)
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    body = {"model": "tiny", "max_tokens": 60, "response_format": form, **QUESTION}
    requested = (
        await server.http.post("/v1/chat/completions", json=body | {"thinking_token_budget": 32})
    ).json()
    assert requested["anytime"]["stop"]["thinking_tokens"] == 32
    half = (await server.http.post("/v1/chat/completions", json=body)).json()
    assert half["anytime"]["stop"]["thinking_tokens"] == 30
