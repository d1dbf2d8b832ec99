"""Start and readiness of the scheduler, graceful shutdown, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.engine.base import EngineLoad
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import (
    Unavailable,
    UnusableModel,
)
from anytime_server.reasoning import Cause
from anytime_server.scheduler import scheduler as scheduler_module
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import events
from anytime_server.text.model import Model

from .conftest import read_all, request, submit_slowly


async def test_latency_is_measured_before_the_scheduler_is_ready(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    scheduler = Scheduler(tiny_model, scripted(seconds_per_token=0.001))
    assert scheduler.not_ready_because == "the model is loading"
    with pytest.raises(Unavailable):
        await scheduler.submit(request())
    await scheduler.start()
    assert scheduler.not_ready_because is None
    assert scheduler.runtime.latency.inter_token_s > 0
    assert scheduler.runtime.latency.answer_cost_s(12) > 0
    await scheduler.stop()
    with pytest.raises(Unavailable):
        await scheduler.submit(request())


@pytest.mark.parametrize(("num_seqs", "num_slots"), [(1, 2), (64, 80), (256, 320)])
async def test_an_engine_may_choose_its_number_of_sequences_at_its_start(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, num_seqs: int, num_slots: int
) -> None:
    engine = scripted(max_num_seqs=4)
    scheduler, start = Scheduler(tiny_model, engine, measure_speed=False), engine.start

    async def choose() -> None:
        await start()
        monkeypatch.setattr(engine, "load", lambda: EngineLoad(num_requests=0, max_num_seqs=num_seqs))

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(engine, "start", choose)
        await scheduler.start()
        slots = scheduler.active.slots
        assert (slots.capacity, slots.num_slots, slots.num_free) == (num_seqs, num_slots, num_seqs)
    await scheduler.stop()


async def test_start_fails_if_no_request_fits_into_the_window(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    scheduler = Scheduler(tiny_model, scripted(window_tokens=12))
    with pytest.raises(UnusableModel, match=r"cannot be asked even a short question: .* window of 12"):
        await scheduler.start()


async def test_start_fails_if_the_warm_up_takes_too_long(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    scheduler = Scheduler(tiny_model, scripted(first_token_s=3600), warm_up_s=0.05)
    with pytest.raises(UnusableModel, match="did not answer short questions within"):
        await scheduler.start()
    assert scheduler.not_ready_because == "the model could not be loaded"
    await scheduler.stop()


async def test_stop_frees_the_engine_even_if_requests_do_not_end(
    start_scheduler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def never_drained(scheduler: Scheduler) -> None:
        await asyncio.Event().wait()

    scheduler = await start_scheduler()
    monkeypatch.setattr(Scheduler, "drained", never_drained)
    monkeypatch.setattr(scheduler_module, "CANCEL_S", 0.05)
    await scheduler.stop()
    assert not scheduler.engine.alive
    assert "do not end within" in caplog.text


async def test_failed_start_is_not_reported_as_loading(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(engine: ScriptedEngine) -> None:
        raise UnusableModel("no such weights")

    monkeypatch.setattr(ScriptedEngine, "start", fail)
    scheduler = Scheduler(tiny_model, scripted())
    with pytest.raises(UnusableModel):
        await scheduler.start()
    assert scheduler.not_ready_because == "the model could not be loaded"
    with pytest.raises(Unavailable, match="could not be loaded") as refused:
        await scheduler.submit(request())
    assert refused.value.retry_after_s is None


async def test_drain_refuses_new_requests_and_lets_sessions_end(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler(never_end=True, seconds_per_token=0.005)
    session = await scheduler.submit(request(budget_tokens=10))
    scheduler.drain(grace_s=30)
    with pytest.raises(Unavailable, match="draining"):
        await scheduler.submit(request())
    assert isinstance((await read_all(session))[-1], events.Done)


async def test_request_being_compiled_is_refused_before_the_drain_ends(
    start_scheduler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = await start_scheduler()
    submission, go_on = await submit_slowly(scheduler, monkeypatch)
    scheduler.drain(grace_s=30)
    drained = asyncio.create_task(scheduler.drained())
    await asyncio.sleep(0.02)
    assert not drained.done()
    go_on.set()
    with pytest.raises(Unavailable):
        await submission
    await asyncio.wait_for(drained, timeout=10)


async def test_drain_makes_thinking_sessions_answer_near_its_end(
    start_scheduler: Callable[..., Any],
) -> None:
    scheduler = await start_scheduler(never_end=True, seconds_per_token=0.002)
    session = await scheduler.submit(request())
    scheduler.drain(grace_s=1)
    await read_all(session)
    assert session.done is not None, session.error
    assert (session.done.stop.cause, session.done.answer) == (Cause.DEADLINE, "42")
    assert session.done.stop.thinking_tokens > 0


async def test_drain_cancels_sessions_that_outlast_it(
    start_scheduler: Callable[..., Any],
) -> None:
    scheduler = await start_scheduler(never_end=True, seconds_per_token=0.2)
    session = await scheduler.submit(request())
    reading = asyncio.create_task(read_all(session))
    await asyncio.sleep(0.02)
    scheduler.drain(grace_s=30)
    scheduler.drain(grace_s=0.05)  # a second drain with less time
    assert isinstance((await reading)[-1], events.Failed)
    assert isinstance(session.error, Unavailable)


async def test_stop_cancels_sessions_under_way(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler(never_end=True, seconds_per_token=0.01)
    session = await scheduler.submit(request())
    reading = asyncio.create_task(read_all(session))
    await asyncio.sleep(0.05)
    await scheduler.stop()
    emitted = await reading
    assert isinstance(emitted[-1], events.Failed)
    assert str(emitted[-1].error) == "the server stops"
    assert scheduler.engine.load().num_requests == 0


async def test_stop_during_warm_up_leaves_no_request(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    engine = scripted(never_end=True, seconds_per_token=0.01)
    scheduler = Scheduler(tiny_model, engine)
    starting = asyncio.create_task(scheduler.start())
    while engine.load().num_requests == 0:
        await asyncio.sleep(0.001)
    starting.cancel()
    await scheduler.stop()
    assert engine.load().num_requests == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("any-")]
