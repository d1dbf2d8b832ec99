"""The scheduler: slots, refusals, metrics, load shedding."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import (
    AlreadyAnswering,
    InvalidRequest,
    UnknownModel,
    UnknownSession,
    UnusableOption,
)
from anytime_server.reasoning import AccuracyPoint, Cause
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.telemetry.metrics import Metrics
from anytime_server.text.model import Model
from anytime_server.types import GenerateRequest

from .conftest import read_all, request, submit_slowly


async def test_schemas_that_compile_delay_no_prompt(
    start_scheduler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, compiled = await start_scheduler(), asyncio.Event()

    async def compile_slowly(engine: ScriptedEngine, constraint: Constraint) -> Enforced:
        await compiled.wait()
        return Enforced(constraint=constraint)

    monkeypatch.setattr(ScriptedEngine, "enforced", compile_slowly)
    # More than there are threads to render prompts.
    delayed = [
        asyncio.create_task(scheduler.submit(request(constraint=Constraint("json_schema", "{}"))))
        for _ in range(64)
    ]
    submission, go_on = await submit_slowly(scheduler, monkeypatch)
    go_on.set()
    await read_all(await submission)
    assert not any(task.done() for task in delayed)
    compiled.set()
    for task in delayed:
        (await task).cancel()


async def test_running_sessions_never_exceed_the_engine_slots(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    engine = scripted(max_num_seqs=3, seconds_per_token=0.002, thinking_tokens=10)
    scheduler = Scheduler(tiny_model, engine, measure_speed=False)
    await scheduler.start()
    sessions = [await scheduler.submit(request(seed=seed)) for seed in range(12)]
    max_running = 0

    async def watch() -> None:
        nonlocal max_running
        while True:
            max_running = max(max_running, engine.load().num_requests)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    results = await asyncio.gather(*(read_all(session) for session in sessions))
    watching.cancel()
    assert all(isinstance(emitted[-1], events.Done) for emitted in results)
    assert max_running == 3
    await scheduler.stop()


@pytest.mark.parametrize("reason", ["budget 0", "answer now", "deadline"])
async def test_session_that_only_answers_does_not_wait_for_thinking(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, reason: str
) -> None:
    scheduler = Scheduler(
        tiny_model, scripted(max_num_seqs=1, never_end=True, seconds_per_token=0.005), measure_speed=False
    )
    await scheduler.start()
    thinking = await scheduler.submit(request())
    waiting = await scheduler.submit(request())
    await asyncio.sleep(0.02)
    assert (thinking.phase, waiting.phase) == ("thinking", "waiting")
    hurried = await scheduler.submit(
        request(
            budget_tokens=0 if reason == "budget 0" else 400,
            deadline_s=0.1 if reason == "deadline" else None,
        )
    )
    if reason == "answer now":
        await asyncio.sleep(0.02)
        assert hurried.phase == "waiting"
        assert hurried.answer_now() == 0
        with pytest.raises(AlreadyAnswering):
            hurried.answer_now()
    await asyncio.wait_for(hurried.ended(), timeout=10)
    assert (thinking.phase, waiting.phase) == ("thinking", "waiting")
    assert hurried.done is not None
    assert hurried.done.answer == "42"
    assert hurried.done.stop.thinking_tokens == 0
    cause = {"budget 0": "budget", "answer now": "client", "deadline": "deadline"}[reason]
    assert hurried.done.stop.cause == cause
    thinking.answer_now()
    await thinking.ended()
    async with asyncio.timeout(10):
        while waiting.phase == "waiting":
            await asyncio.sleep(0.001)
    assert waiting.phase == "thinking"
    await scheduler.stop()


@pytest.mark.parametrize("thinking", [False, True])
async def test_answers_use_all_slots_unless_thinking_waits(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, thinking: bool
) -> None:
    engine = scripted(max_num_seqs=8, seconds_per_token=0.002, never_end=True)
    num_spare = engine.load().num_spare_seqs
    assert num_spare == 2
    scheduler = Scheduler(tiny_model, engine, measure_speed=False)
    await scheduler.start()
    thinking_sessions = [await scheduler.submit(request(budget_tokens=60)) for _ in range(9 * thinking)]
    answers = [await scheduler.submit(request(budget_tokens=0)) for _ in range(12)]
    max_answering = 0
    while any(session.phase != "ended" for session in answers):
        max_answering = max(max_answering, sum(session.phase == "answering" for session in answers))
        await asyncio.sleep(0)
    assert max_answering == (num_spare if thinking else 8 + num_spare)
    assert all(session.done is not None for session in answers)
    for session in thinking_sessions:
        session.cancel()
    await scheduler.stop()


@pytest.mark.parametrize("end", [Session.abandon, Session.cancel, Session.answer_now])
async def test_slot_granted_to_a_session_that_ends_at_once_is_passed_on(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, end: Callable[[Session], object]
) -> None:
    scheduler = Scheduler(
        tiny_model, scripted(max_num_seqs=1, never_end=True, seconds_per_token=0.002), measure_speed=False
    )
    await scheduler.start()
    holder, waiting, last = [await scheduler.submit(request()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert (holder.phase, waiting.phase) == ("thinking", "waiting")
    holder.cancel()
    await holder.ended()  # its slot has just been granted to the next waiter
    end(waiting)
    async with asyncio.timeout(10):
        await waiting.ended()
        while last.phase == "waiting":
            await asyncio.sleep(0.001)
    assert last.phase == "thinking"
    await scheduler.stop()


async def test_answer_now_applies_to_a_waiting_session(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    scheduler = Scheduler(
        tiny_model,
        scripted(max_num_seqs=1, seconds_per_token=0.002, never_end=True),
        measure_speed=False,
    )
    await scheduler.start()
    first = await scheduler.submit(request(budget_tokens=30))
    second = await scheduler.submit(request(budget_tokens=30))
    await asyncio.sleep(0.01)
    assert (first.phase, second.phase) == ("thinking", "waiting")
    assert second.answer_now() == 0
    await asyncio.gather(read_all(first), read_all(second))
    assert second.done is not None
    assert (second.done.stop.cause, second.done.stop.thinking_tokens) == ("client", 0)
    await scheduler.stop()


async def test_refusals_name_the_field(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler()
    with pytest.raises(UnknownModel) as unknown:
        await scheduler.submit(request(model="other"))
    assert unknown.value.field == "model"
    for field, invalid in [
        ("budget", request(budget_tokens=513)),
        ("messages", GenerateRequest(messages=[])),
        ("messages", GenerateRequest(messages=[{"role": "user", "content": "7" * 600}])),
        ("answer.max_tokens", request(answer_tokens=512)),
    ]:
        with pytest.raises(InvalidRequest) as refused:
            await scheduler.submit(invalid)
        assert refused.value.field == field
    assert scheduler.engine.load().num_requests == 0


async def test_ended_sessions_are_not_found(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler()
    session = await scheduler.submit(request())
    assert scheduler.find(session.request.id, account=None) is session
    await read_all(session)
    await session.ended()
    with pytest.raises(UnknownSession):
        scheduler.find(session.request.id, account=None)


async def test_long_prompt_does_not_delay_others(
    start_scheduler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = await start_scheduler()
    submission, go_on = await submit_slowly(scheduler, monkeypatch)
    assert isinstance((await read_all(await scheduler.submit(request())))[-1], events.Done)
    go_on.set()
    assert isinstance((await read_all(await submission))[-1], events.Done)


async def test_metrics_count_ended_sessions(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler(never_end=True)
    metrics = Metrics.of(scheduler)
    for budget in (3, 4):
        await read_all(await scheduler.submit(request(budget_tokens=budget)))
    text = metrics.exposition().decode()
    assert 'anytime_answers_total{cause="budget"} 2.0' in text
    assert "anytime_thinking_tokens_sum 7.0" in text
    assert "anytime_time_to_first_token_seconds_count 2.0" in text
    assert "anytime_sessions_running 0.0" in text


async def test_load_is_shed_only_while_sessions_wait(
    scripted: Callable[..., ScriptedEngine], tiny_checkpoint: Path
) -> None:
    model = Model.load(tiny_checkpoint)
    with pytest.raises(UnusableOption, match="--shed"):
        Scheduler(model, scripted(), sheds_load=True)
    curve = [
        AccuracyPoint(budget=budget, accuracy=accuracy, low=0, high=1, n=10)
        for budget, accuracy in ((8, 0.3), (60, 0.9))
    ]
    model.manifest = model.manifest.model_copy(update={"accuracy_curve": curve})
    engine = scripted(never_end=True, seconds_per_token=0.002, max_num_seqs=2)
    scheduler = Scheduler(model, engine, measure_speed=False, sheds_load=True)
    await scheduler.start()
    sessions = [await scheduler.submit(request(budget_tokens=60)) for _ in range(10)]
    for session in sessions:
        await session.ended()
    stops = [session.done.stop for session in sessions if session.done is not None]
    assert len(stops) == 10
    shed = [stop for stop in stops if stop.cause is Cause.LOAD]
    assert all(8 <= stop.thinking_tokens < 60 for stop in shed)
    assert len(shed) >= 6
    assert stops[-1].cause is Cause.BUDGET  # no session waits behind the last
    await scheduler.stop()
