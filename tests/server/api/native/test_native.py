"""The native dialect over HTTP."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from ..conftest import QUESTION


async def test_stream_has_all_documented_events(served: Any) -> None:
    server = await served(never_end=True)
    emitted = await server.stream(budget=5, thinking={"seed": 3})
    started, *_, answer_done, done = emitted
    assert started["budget"] == {"tokens": 5, "deadline_ms": None}
    assert started["model"] == "tiny"
    assert started["prompt_tokens"] == 7
    thinking = [event for event in emitted if event["type"] == "thinking"]
    totals = [event["total_tokens"] for event in thinking]  # unread deltas are merged
    assert totals == sorted(set(totals))
    assert totals[-1] == len("".join(event["text"] for event in thinking)) == 5
    [answer_started] = [event for event in emitted if event["type"] == "answer.started"]
    assert answer_started == {
        "type": "answer.started",
        "index": 0,
        "at_tokens": 5,
        "provisional": False,
        "cause": "budget",
    }
    assert answer_done["type"] == "answer.done"
    assert answer_done["text"] == "42"
    assert answer_done["finish_reason"] == "stop"
    assert done["id"] == started["id"]
    assert done["stop"] == {"cause": "budget", "budget_tokens": 5, "thinking_tokens": 5}
    assert done["answer"] == "42"
    assert done["usage"] == {
        "prompt_tokens": 7,
        "thinking_tokens": 5,
        "inserted_tokens": 12,
        "answer_tokens": 3,
        "provisional_tokens": 0,
        "cached_tokens": 0,
    }
    timing = done["timing"]
    assert 0 < timing["time_to_first_token_s"] <= timing["time_to_answer_s"] <= timing["total_s"]
    assert 0 <= timing["cut_to_answer_s"] <= timing["total_s"]
    assert done["continuation"].startswith("a1.")


async def test_whole_body_equals_the_stream(served: Any) -> None:
    server = await served(never_end=True)
    emitted = await server.stream(budget=5, thinking={"seed": 3})
    body = await server.think(budget=5, thinking={"seed": 3})
    assert body["thinking"] == "".join(event["text"] for event in emitted if event["type"] == "thinking")
    assert body["stop"] == emitted[-1]["stop"]
    assert body["usage"] == emitted[-1]["usage"]
    assert body["model"] == "tiny"
    [answer] = body["answers"]
    assert answer == {name: value for name, value in emitted[-2].items() if name != "type"} | {
        "confidence": answer["confidence"]
    }


async def test_every_budget_is_kept(served: Any) -> None:
    server = await served()
    for budget in range(0, 301, 7):
        stop = (await server.think(budget=budget))["stop"]
        assert stop["thinking_tokens"] <= budget
        assert (stop["cause"] == "budget") == (stop["thinking_tokens"] == budget) or stop[
            "cause"
        ] == "natural"


@pytest.mark.parametrize("stream", [True, False])
async def test_session_id_is_in_a_header(served: Any, stream: bool) -> None:
    server = await served()
    response = await server.http.post("/v1/anytime", json=QUESTION | {"budget": 3, "stream": stream})
    done = json.loads(response.text.strip().split("\n")[-1].removeprefix("data: "))
    assert response.headers["x-request-id"] == done["id"]


@pytest.mark.parametrize("budget", [40, {"tokens": 40}, {"tokens": 40, "deadline_ms": 60_000}])
async def test_every_form_of_a_budget_is_accepted(served: Any, budget: Any) -> None:
    server = await served(never_end=True)
    assert (await server.think(budget=budget))["stop"]["thinking_tokens"] == 40


@pytest.mark.parametrize("fields", [{}, {"budget": None}, {"budget": {}}, {"budget": 510}])
async def test_thinking_without_a_budget_uses_the_window_less_the_answer(served: Any, fields: Any) -> None:
    server = await served(never_end=True)
    body = await server.think(**fields)
    room = 512 - 7 - 12 - 12  # window, prompt, inserted, answer
    assert body["stop"] == {"cause": "context", "budget_tokens": room, "thinking_tokens": room}
    assert body["answer"] == "42"


async def test_budgets_of_null_give_no_early_answer(served: Any) -> None:
    server = await served(never_end=True)
    answers = (await server.think(budgets=None, budget=9))["answers"]
    assert [answer["provisional"] for answer in answers] == [False]


async def test_answer_now_truncates_once(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.005)
    control: list[Any] = []
    path = ""
    emitted: list[dict[str, Any]] = []
    async with server.http.stream("POST", "/v1/anytime", json=QUESTION) as response:
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            emitted.append(json.loads(line[6:]))
            if len(emitted) == 6:
                path = f"/v1/anytime/{emitted[0]['id']}/answer"
                control = [await server.http.post(path), await server.http.post(path)]
    accepted, refused = control
    assert accepted.status_code == 202
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "already_answering"
    assert emitted[-1]["stop"]["cause"] == "client"
    assert emitted[-1]["stop"]["thinking_tokens"] == accepted.json()["at_tokens"]
    assert emitted[-1]["answer"] == "42"
    unknown = await server.http.post(path)
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "unknown_session"


async def test_cancel_ends_the_stream_with_an_error(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.005)
    path = ""
    emitted: list[dict[str, Any]] = []
    async with server.http.stream("POST", "/v1/anytime", json=QUESTION) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                emitted.append(json.loads(line[6:]))
                if len(emitted) == 3:
                    path = f"/v1/anytime/{emitted[0]['id']}"
                    assert (await server.http.delete(path)).status_code == 204
    assert emitted[-1] == {
        "type": "error",
        "error": {"code": "cancelled", "message": "the session was cancelled", "field": None},
    }
    assert (await server.http.delete(path)).status_code == 404
    await server.idle()


@pytest.mark.parametrize("num_events", [1, 4, 12])
async def test_disconnected_stream_leaves_nothing_running(served: Any, num_events: int) -> None:
    """The client disconnects before the first token, in the thinking, or in the answer."""
    server = await served(
        never_end=True,
        seconds_per_token=0.03,
        first_token_s=0.1 if num_events == 1 else 0,
        answer="many words",
    )
    seen = 0
    async with server.http.stream("POST", "/v1/anytime", json=QUESTION | {"budget": 8}) as response:
        async for line in response.aiter_lines():
            seen += line.startswith("data: ")
            if seen == num_events:
                break
    await server.idle()
    async with asyncio.timeout(1):
        while "anytime_sessions_abandoned_total 1.0" not in (await server.http.get("/metrics")).text:
            await asyncio.sleep(0.02)


async def test_disconnected_whole_request_leaves_nothing_running(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.05)
    pending = asyncio.create_task(server.think())
    while server.scheduler.engine.load().num_requests == 0:
        await asyncio.sleep(0.01)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    await server.idle()


async def test_keep_alive_comments_come_before_the_first_token(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anytime_server.api.sse.KEEP_ALIVE_S", 0.02)
    server = await served(first_token_s=0.1)
    async with server.http.stream("POST", "/v1/anytime", json=QUESTION) as response:
        lines = [line async for line in response.aiter_lines()]
    first_thinking = lines.index("event: thinking")
    assert ": ping" in lines[:first_thinking]


async def test_engine_death_ends_every_stream_with_one_error(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.001, die_after_tokens=60)
    results = await asyncio.gather(*(server.stream() for _ in range(5)))
    for emitted in results:
        assert [event["type"] for event in emitted].count("error") == 1
        assert emitted[-1]["error"]["code"] == "engine_dead"
    ready = await server.http.get("/ready")
    assert (ready.status_code, ready.json()["reason"]) == (503, "the engine is being restarted")
    refused = await server.http.post("/v1/anytime", json=QUESTION)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert (await server.http.get("/health")).status_code == 200


async def test_engine_death_without_a_stream_gets_503(served: Any) -> None:
    server = await served(never_end=True, die_after_tokens=5)
    response = await server.http.post("/v1/anytime", json=QUESTION | {"stream": False})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_dead")


async def test_text_with_line_separators_stays_in_one_event(served: Any) -> None:
    server = await served(thinking_tokens=3, answer="a\u2028\u0085b")
    emitted = await server.stream()
    assert emitted[-1]["answer"] == "a\u2028\u0085b"


async def test_many_streams_with_random_budgets_each_end_in_one_done(served: Any) -> None:
    server = await served(seconds_per_token=0.0005)
    draw = random.Random(0)
    budgets = [draw.randint(0, 300) for _ in range(64)]
    results = await asyncio.gather(
        *(server.stream(budget=budget, thinking={"seed": budget}) for budget in budgets)
    )
    for budget, emitted in zip(budgets, results, strict=True):
        assert [event["type"] for event in emitted if event["type"] in ("done", "error")] == ["done"]
        assert emitted[-1]["stop"]["thinking_tokens"] <= budget
        assert emitted[-1]["answer"] == "42"
    await server.idle()


async def test_deadline_truncates_and_is_counted_if_missed(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.005, measure_speed=True)
    emitted = await server.stream(budget={"deadline_ms": 2000})
    assert emitted[0]["budget"]["deadline_ms"] == 2000
    assert emitted[-1]["stop"]["cause"] == "deadline"
    assert emitted[-1]["stop"]["thinking_tokens"] > 0
    late = emitted[-1]["timing"]["total_s"] > 2
    metrics = (await server.http.get("/metrics")).text
    assert f'anytime_deadlines_missed_total{{model="tiny"}} {float(late)}' in metrics


async def test_missed_deadline_is_counted(served: Any) -> None:
    server = await served(never_end=True, first_token_s=0.05)
    emitted = await server.stream(budget={"deadline_ms": 1})
    assert (emitted[-1]["stop"]["cause"], emitted[-1]["answer"]) == ("deadline", "42")
    assert emitted[-1]["timing"]["total_s"] > 0.001
    assert 'anytime_deadlines_missed_total{model="tiny"} 1.0' in (await server.http.get("/metrics")).text


async def test_controls_of_unknown_sessions_get_404(served: Any) -> None:
    server = await served()
    for method, path in [("POST", "/answer"), ("DELETE", "")]:
        response = await server.http.request(method, f"/v1/anytime/any-nobody{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_session")
