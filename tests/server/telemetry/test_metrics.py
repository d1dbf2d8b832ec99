"""Metrics of sessions that have ended, and of the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server import __version__
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.telemetry.metrics import Metrics
from anytime_server.telemetry.setup import observe
from anytime_server.types import GenerateRequest
from prometheus_client.parser import text_string_to_metric_families

MESSAGES = [{"role": "user", "content": "7-3"}]


@pytest.fixture
def watched(start_scheduler: Callable[..., Any]) -> Callable[..., Any]:
    """Starts a scheduler and its metrics."""

    async def start(**script: Any) -> tuple[Scheduler, Metrics]:
        scheduler = await start_scheduler(**script)
        return scheduler, Metrics.of(scheduler)

    return start


def samples(metrics: Metrics) -> dict[str, float]:
    """Values by name and label values."""
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(metrics.exposition()[0].decode())
        for sample in family.samples
    }


async def run(scheduler: Scheduler, **fields: Any) -> Any:
    session = await scheduler.submit(GenerateRequest(messages=MESSAGES, **fields))
    await session.ended()
    return session


async def test_budgets_requested_and_used(watched: Callable[..., Any]) -> None:
    scheduler, metrics = await watched(thinking_tokens=5)
    await run(scheduler, budget_tokens=3)
    session = await run(scheduler, budget_tokens=100)
    found = samples(metrics)
    assert found["anytime_budget_tokens_sum/tiny"] == 103
    assert found["anytime_thinking_tokens_sum/tiny"] == 3 + session.done.stop.thinking_tokens
    assert found["anytime_budget_overrun_tokens_total"] == 0
    assert found["anytime_answers_total/budget/tiny"] == 1
    assert found["anytime_answers_total/natural/tiny"] == 1
    assert found["anytime_answers_total/deadline/tiny"] == 0
    assert found["anytime_queue_seconds_count/tiny"] == 2
    assert found["anytime_thinking_token_seconds_count/tiny"] == 2


async def test_an_overrun_is_counted(watched: Callable[..., Any]) -> None:
    scheduler, metrics = await watched(never_end=True)
    session = await run(scheduler, budget_tokens=5)
    stop = dataclasses.replace(session.done.stop, budget_tokens=3)
    session.done = dataclasses.replace(session.done, stop=stop)  # as after a bug
    metrics.observe(session)
    assert samples(metrics)["anytime_budget_overrun_tokens_total"] == 2


async def test_deadlines_set_and_missed(watched: Callable[..., Any]) -> None:
    scheduler, metrics = await watched(first_token_s=0.05)
    await run(scheduler, deadline_s=0.001)
    await run(scheduler, budget_tokens=2, deadline_s=60.0)
    found = samples(metrics)
    assert found["anytime_deadline_seconds_count/tiny"] == 2
    assert found["anytime_deadlines_missed_total/tiny"] == 1


async def test_sessions_by_outcome(watched: Callable[..., Any]) -> None:
    scheduler, metrics = await watched(never_end=True, seconds_per_token=0.01)
    await run(scheduler, budget_tokens=2)
    for end in ("cancel", "abandon"):
        session = await scheduler.submit(GenerateRequest(messages=MESSAGES, budget_tokens=100))
        getattr(session, end)()
        await session.ended()
    found = samples(metrics)
    assert [
        found[f"anytime_sessions_total//tiny/{outcome}"] for outcome in ("answered", "failed", "abandoned")
    ] == [
        1,
        1,
        1,
    ]
    assert found["anytime_session_errors_total/cancelled"] == 1
    assert found["anytime_sessions_abandoned_total"] == 1


async def test_lengths_times_and_ends_of_requests(watched: Callable[..., Any]) -> None:
    scheduler, metrics = await watched(never_end=True)
    usage = (await run(scheduler, budget_tokens=4, budgets=(2,))).done.usage
    await run(scheduler, budget_tokens=4, answer_tokens=1)
    session = await scheduler.submit(GenerateRequest(messages=MESSAGES))
    session.cancel()
    await session.ended()
    found = samples(metrics)
    assert found["anytime_prompt_tokens_sum/tiny"] == 2 * usage.prompt_tokens
    sampled = usage.thinking_tokens + usage.answer_tokens + usage.provisional_tokens
    assert found["anytime_output_tokens_sum/tiny"] == sampled + 4 + 1
    for name in ("request", "prefill", "decode"):
        assert found[f"anytime_{name}_seconds_count/tiny"] == 2
    parts = found["anytime_prefill_seconds_sum/tiny"] + found["anytime_decode_seconds_sum/tiny"]
    assert 0 < parts <= found["anytime_request_seconds_sum/tiny"]
    for reason in ("stop", "length", "abort"):
        assert found[f"anytime_finish_reasons_total/tiny/{reason}"] == 1


async def test_thinking_within_the_grace_is_no_overrun(watched: Callable[..., Any]) -> None:
    scheduler, metrics = await watched(never_end=True)
    session = await run(scheduler, budget_tokens=5, grace_tokens=3)
    assert session.done.stop.thinking_tokens == 8
    assert samples(metrics)["anytime_budget_overrun_tokens_total"] == 0


async def test_tokens_by_kind(watched: Callable[..., Any]) -> None:
    scheduler, metrics = await watched(never_end=True)
    usage = (await run(scheduler, budget_tokens=4, budgets=(2,))).done.usage
    found = samples(metrics)
    for kind in ("prompt", "thinking", "inserted", "answer", "provisional"):
        assert found[f"anytime_tokens_total//{kind}/tiny"] == getattr(usage, f"{kind}_tokens") > 0
    assert found["anytime_tokens_total//cached/tiny"] == usage.prompt_cached_tokens


async def test_build_info_and_engine_state(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler()
    metrics = observe(scheduler, engine="scripted")
    found = samples(metrics)
    assert found[f"anytime_build_info/scripted/tiny/{__version__}"] == 1
    assert (found["anytime_ready"], found["anytime_engine_up"]) == (1, 1)
    assert "anytime_engine_preemptions_total" not in found  # this engine does not count them
    assert (found["anytime_engine_places"], found["anytime_engine_restarts_total"]) == (256, 0)
    assert found["process_resident_memory_bytes"] > 0
    await scheduler.stop()
    found = samples(metrics)
    assert (found["anytime_ready"], found["anytime_engine_up"]) == (0, 0)
