"""Leases, drain and warm-up against hand-computed numbers, in virtual time where time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.reasoning import SamplingOptions
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.scheduler.warmup import warm_up_requests
from anytime_server.session import Session
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model
from anytime_server.types import GenerateRequest

from ..session.virtual_time import virtual_time
from .conftest import request

TOKEN_S = 1.0


async def started(model: Model, engine: ScriptedEngine, **options: Any) -> Scheduler:
    scheduler = Scheduler(model, engine, measure_speed=False, **options)
    await scheduler.start()
    return scheduler


def test_mean_time_of_recent_sessions_moves_by_a_32nd(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    """Thinking and the answer's 3 tokens take 1 s each: 7 s, then 11 s."""
    observed: list[Session] = []

    async def play() -> list[float]:
        scheduler = await started(tiny_model, scripted(never_end=True, seconds_per_token=TOKEN_S))
        scheduler.active.observers.append(observed.append)
        means = [scheduler.active.mean_held_s]
        for budget_tokens in (4, 8):
            session = await scheduler.submit(request(budget_tokens=budget_tokens))
            await session.ended()
            means.append(scheduler.active.mean_held_s)
        return means

    with virtual_time() as runner:
        assert runner.run(play()) == [0, 7, 7 + 4 / 32]
    assert [session.thinking_tokens for session in observed] == [4, 8]


def test_warm_up_sessions_are_not_observed(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    observed: list[Session] = []

    async def play() -> tuple[Scheduler, float]:
        engine = scripted(never_end=True, seconds_per_token=TOKEN_S)
        scheduler = Scheduler(tiny_model, engine)
        scheduler.active.observers.append(observed.append)
        await scheduler.start()
        return scheduler, runner.get_loop().time()

    with virtual_time() as runner:
        scheduler, ended_at = runner.run(play())
    assert observed == []
    assert scheduler.active.mean_held_s == 0
    # 3 and 6 short sessions of 32 + 3 tokens, and two long ones of 1 + 3 after each.
    assert ended_at == 1000 + 9 * 35 + 4 * 4
    latency = scheduler.runtime.latency
    assert latency.inter_token_s == TOKEN_S
    assert latency.answer_cost_s(100) == TOKEN_S + 3 * TOKEN_S


@pytest.mark.parametrize(
    ("grace_s", "switch_s", "thinking_tokens"),
    [
        (30.0, 0.0, 29),  # half a second before the end
        (30.0, 1.25, 27),  # twice the 1.25 s that an answer takes
        (4.5, 8.0, 2),  # no earlier than halfway
    ],
)
def test_a_drain_leaves_time_for_the_answers(
    scripted: Callable[..., ScriptedEngine],
    tiny_model: Model,
    grace_s: float,
    switch_s: float,
    thinking_tokens: int,
) -> None:
    async def play() -> Session:
        scheduler = await started(tiny_model, scripted(never_end=True, seconds_per_token=TOKEN_S))
        scheduler.runtime.latency.record_switch(seconds=switch_s)
        session = await scheduler.submit(request())
        scheduler.drain(grace_s=grace_s)
        while session.phase == "thinking" or session.phase == "waiting":
            await asyncio.sleep(TOKEN_S / 8)
        return session

    with virtual_time() as runner:
        session = runner.run(play())
    assert session.thinking_tokens == thinking_tokens


async def test_readers_rest_longer_with_more_streams(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    """The time of one token for every 16 other streams, 0.2 s at most."""
    scheduler = await started(tiny_model, scripted(never_end=True, seconds_per_token=30.0))
    latency = LatencyEstimator()
    object.__setattr__(scheduler.runtime, "latency", latency)
    latency.record_decoding(num_tokens=1, seconds=0.0625)
    rests = []
    for number in range(1, 66):
        session = await scheduler.submit(request())
        if number in (1, 16, 17, 32, 33, 49, 65):
            rests.append(scheduler.active.find(session.request.id, None).delta_interval_s())
    assert rests == [0, 0, 0.0625, 0.0625, 0.125, 0.1875, 0.2]
    await scheduler.stop()


async def test_waiting_sessions_and_the_answers_ahead_of_them_are_counted(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    engine = scripted(max_num_seqs=8, never_end=True, seconds_per_token=30.0)
    assert engine.load().num_spare_seqs == 2
    scheduler = await started(tiny_model, engine)
    sessions = [await scheduler.submit(request(budgets=(40,))) for _ in range(9)]
    await asyncio.sleep(0)
    # Each wants two slots: one for its early answer.
    assert (scheduler.active.num_waiting, scheduler.active.slots.num_wanted) == (5, 10)
    assert [session.phase for session in scheduler.active] == ["thinking"] * 4 + ["waiting"] * 5
    lease = scheduler.active.find(sessions[-1].request.id, None)
    assert (lease.answers_ahead(), lease.thinking_limit()) == (10 / (8 + 2), None)
    await scheduler.stop()


def short(content: str, budget_tokens: int, seed: int, temperature: float) -> GenerateRequest:
    return GenerateRequest(
        messages=[{"role": "user", "content": content}],
        budget_tokens=budget_tokens,
        answer_tokens=12,
        answer=SamplingOptions(temperature=temperature),
        seed=seed,
    )


def values(requests: list[GenerateRequest]) -> list[tuple[Any, ...]]:
    return [(one.messages, one.budget_tokens, one.answer_tokens, one.answer, one.seed) for one in requests]


def test_warm_up_requests_are_short_greedy_and_sampled_then_long(tiny_model: Model) -> None:
    found = warm_up_requests(tiny_model, window_tokens=2048, num_sessions=3)
    assert values(found) == values(
        [
            short("7-3", 32, 0, 0.0),
            short("7-3", 32, 1, 0.6),
            short("7-3", 32, 2, 0.0),
            # 512 tokens, three each.
            short(f"3: {'7-3' * 170}", 1, 0, 0.0),
            short(f"4: {'7-3' * 170}", 1, 1, 0.0),
        ]
    )


def test_warm_up_requests_fit_into_a_small_window(tiny_model: Model) -> None:
    model = Model(
        name="tiny",
        folder=tiny_model.folder,
        tokenizer=tiny_model.tokenizer,
        manifest=tiny_model.manifest.model_copy(update={"examples": []}),
        family=tiny_model.family,
    )
    found = warm_up_requests(model, window_tokens=64, num_sessions=1)
    # A quarter of the window to think; half of it, in questions of 14 tokens, for a long prompt.
    question = "What is 2 + 2?"
    assert values(found) == values([short(question, 16, 0, 0.0), short(f"1: {question * 2}", 1, 0, 0.0)])
