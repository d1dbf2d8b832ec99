"""Admission, readiness and what is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import (
    AlreadyAnswering,
    InvalidRequest,
    Unavailable,
    UnknownModel,
    UnknownSession,
    UnusableModel,
    UnusableOption,
)
from anytime_server.reasoning import AccuracyPoint, Cause
from anytime_server.scheduler.compile import SHORT_PROMPT
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session, events
from anytime_server.telemetry.metrics import Metrics
from anytime_server.text.model import Model
from anytime_server.types import GenerateRequest

MESSAGES = [{"role": "user", "content": "7-3"}]


async def listen(session: Session) -> list[events.Event]:
    return [event async for batch in session.read() for event in batch]


async def open_slowly(
    one: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Task[Session], threading.Event]:
    """Open a session whose prompt, a long one, is being encoded until the event is set."""
    begun, go_on = threading.Event(), threading.Event()
    prompt_ids = one.model.prompt_ids

    def slow(messages: Any, tools: Any = None) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        return prompt_ids(MESSAGES)

    long = [{"role": "user", "content": "7" * (SHORT_PROMPT + 1)}]
    with monkeypatch.context() as patched:
        patched.setattr(one.model, "prompt_ids", slow)
        opening = asyncio.create_task(one.submit(GenerateRequest(messages=long)))
        assert await asyncio.to_thread(begun.wait, 10)
    return opening, go_on


async def test_measures_its_own_speed_before_it_is_ready(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    one = Scheduler(tiny_model, scripted(seconds_per_token=0.001))
    assert one.not_ready_because == "the model is loading"
    with pytest.raises(Unavailable):
        await one.submit(GenerateRequest(messages=MESSAGES))
    await one.start()
    assert one.not_ready_because is None
    assert one.runtime.latency.inter_token_s > 0
    assert one.runtime.latency.answer_cost_s(12) > 0
    await one.stop()
    with pytest.raises(Unavailable):
        await one.submit(GenerateRequest(messages=MESSAGES))


async def test_no_more_sessions_than_the_engine_computes(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    engine = scripted(max_num_seqs=3, seconds_per_token=0.002, thinking_tokens=10)
    one = Scheduler(tiny_model, engine, measure_speed=False)
    await one.start()
    sessions = [await one.submit(GenerateRequest(messages=MESSAGES, seed=seed)) for seed in range(12)]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, engine.load().num_requests)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    results = await asyncio.gather(*(listen(session) for session in sessions))
    watching.cancel()
    assert all(isinstance(said[-1], events.Done) for said in results)
    assert most == 3
    await one.stop()


@pytest.mark.parametrize("how", ["budget 0", "answer now", "deadline"])
async def test_who_only_wants_an_answer_waits_for_nobodys_thinking(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, how: str
) -> None:
    one = Scheduler(
        tiny_model, scripted(max_num_seqs=1, never_end=True, seconds_per_token=0.005), measure_speed=False
    )
    await one.start()
    thinks = await one.submit(GenerateRequest(messages=MESSAGES))
    waits = await one.submit(GenerateRequest(messages=MESSAGES))
    await asyncio.sleep(0.02)
    assert (thinks.phase, waits.phase) == ("thinking", "waiting")
    hurried = await one.submit(
        GenerateRequest(
            messages=MESSAGES,
            budget_tokens=0 if how == "budget 0" else 400,
            deadline_s=0.1 if how == "deadline" else None,
        )
    )
    if how == "answer now":
        await asyncio.sleep(0.02)
        assert hurried.phase == "waiting"
        assert hurried.answer_now() == 0
        with pytest.raises(AlreadyAnswering):
            hurried.answer_now()
    await asyncio.wait_for(hurried.ended(), timeout=10)
    assert (thinks.phase, waits.phase) == ("thinking", "waiting")
    assert hurried.done is not None
    assert hurried.done.answer == "42"
    assert hurried.done.stop.thinking_tokens == 0
    cause = {"budget 0": "budget", "answer now": "client", "deadline": "deadline"}[how]
    assert hurried.done.stop.cause == cause
    thinks.answer_now()
    await thinks.ended()
    async with asyncio.timeout(10):
        while waits.phase == "waiting":
            await asyncio.sleep(0.001)
    assert waits.phase == "thinking"
    await one.stop()


@pytest.mark.parametrize("thinking", [False, True])
async def test_those_that_only_answer_have_all_the_room_unless_thinking_waits(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, thinking: bool
) -> None:
    engine = scripted(max_num_seqs=8, seconds_per_token=0.002, never_end=True)
    spare = engine.load().num_spare_seqs
    assert spare == 2
    one = Scheduler(tiny_model, engine, measure_speed=False)
    await one.start()
    think = [
        await one.submit(GenerateRequest(messages=MESSAGES, budget_tokens=60)) for _ in range(9 * thinking)
    ]
    answer = [await one.submit(GenerateRequest(messages=MESSAGES, budget_tokens=0)) for _ in range(12)]
    most = 0
    while any(session.phase != "ended" for session in answer):
        most = max(most, sum(session.phase == "answering" for session in answer))
        await asyncio.sleep(0)
    assert most == (spare if thinking else 8 + spare)
    assert all(session.done is not None for session in answer)
    for session in think:
        session.cancel()
    await one.stop()


@pytest.mark.parametrize("end", [Session.abandon, Session.cancel, Session.answer_now])
async def test_a_place_is_not_lost_on_one_that_ends_in_the_instant_it_gets_it(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, end: Callable[[Session], object]
) -> None:
    one = Scheduler(
        tiny_model, scripted(max_num_seqs=1, never_end=True, seconds_per_token=0.002), measure_speed=False
    )
    await one.start()
    holder, waits, last = [await one.submit(GenerateRequest(messages=MESSAGES)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert (holder.phase, waits.phase) == ("thinking", "waiting")
    holder.cancel()
    await holder.ended()  # its place has just been given on
    end(waits)
    async with asyncio.timeout(10):
        await waits.ended()
        while last.phase == "waiting":
            await asyncio.sleep(0.001)
    assert last.phase == "thinking"
    await one.stop()


async def test_a_request_that_is_being_opened_is_refused_before_the_drain_is_over(
    start_scheduler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await start_scheduler()
    opening, go_on = await open_slowly(one, monkeypatch)
    one.drain(grace_s=30)
    drained = asyncio.create_task(one.drained())
    await asyncio.sleep(0.02)
    assert not drained.done()
    go_on.set()
    with pytest.raises(Unavailable):
        await opening
    await asyncio.wait_for(drained, timeout=10)


async def test_a_window_that_no_question_fits_into_is_told_of_at_the_start(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    one = Scheduler(tiny_model, scripted(window_tokens=12))
    with pytest.raises(UnusableModel, match=r"cannot be asked even a short question: .* window of 12"):
        await one.start()


async def test_a_session_that_waits_can_be_told_to_answer(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    one = Scheduler(
        tiny_model,
        scripted(max_num_seqs=1, seconds_per_token=0.002, never_end=True),
        measure_speed=False,
    )
    await one.start()
    first = await one.submit(GenerateRequest(messages=MESSAGES, budget_tokens=30))
    second = await one.submit(GenerateRequest(messages=MESSAGES, budget_tokens=30))
    await asyncio.sleep(0.01)
    assert (first.phase, second.phase) == ("thinking", "waiting")
    assert second.answer_now() == 0
    await asyncio.gather(listen(first), listen(second))
    assert second.done is not None
    assert (second.done.stop.cause, second.done.stop.thinking_tokens) == ("client", 0)
    await one.stop()


async def test_refusals_name_the_field(start_scheduler: Callable[..., Any]) -> None:
    one = await start_scheduler()
    with pytest.raises(UnknownModel) as unknown:
        await one.submit(GenerateRequest(messages=MESSAGES, model="other"))
    assert unknown.value.field == "model"
    for field, question in [
        ("budget", GenerateRequest(messages=MESSAGES, budget_tokens=513)),
        ("messages", GenerateRequest(messages=[])),
        ("messages", GenerateRequest(messages=[{"role": "user", "content": "7" * 600}])),
        ("answer.max_tokens", GenerateRequest(messages=MESSAGES, answer_tokens=512)),
    ]:
        with pytest.raises(InvalidRequest) as refused:
            await one.submit(question)
        assert refused.value.field == field
    assert one.engine.load().num_requests == 0


async def test_ended_sessions_are_forgotten(start_scheduler: Callable[..., Any]) -> None:
    one = await start_scheduler()
    session = await one.submit(GenerateRequest(messages=MESSAGES))
    assert one.find(session.request.id, account=None) is session
    await listen(session)
    await session.ended()
    with pytest.raises(UnknownSession):
        one.find(session.request.id, account=None)


async def test_stop_ends_what_is_under_way(start_scheduler: Callable[..., Any]) -> None:
    one = await start_scheduler(never_end=True, seconds_per_token=0.01)
    session = await one.submit(GenerateRequest(messages=MESSAGES))
    reading = asyncio.create_task(listen(session))
    await asyncio.sleep(0.05)
    await one.stop()
    said = await reading
    assert isinstance(said[-1], events.Failed)
    assert one.engine.load().num_requests == 0


async def test_drain_lets_those_under_way_end(start_scheduler: Callable[..., Any]) -> None:
    one = await start_scheduler(never_end=True, seconds_per_token=0.005)
    session = await one.submit(GenerateRequest(messages=MESSAGES, budget_tokens=10))
    one.drain(grace_s=30)
    with pytest.raises(Unavailable, match="draining"):
        await one.submit(GenerateRequest(messages=MESSAGES))
    assert isinstance((await listen(session))[-1], events.Done)


async def test_drain_has_those_answer_that_still_think_near_its_end(
    start_scheduler: Callable[..., Any],
) -> None:
    one = await start_scheduler(never_end=True, seconds_per_token=0.002)
    session = await one.submit(GenerateRequest(messages=MESSAGES))
    one.drain(grace_s=1)
    await listen(session)
    assert session.done is not None, session.error
    assert (session.done.stop.cause, session.done.answer) == (Cause.DEADLINE, "42")
    assert session.done.stop.thinking_tokens > 0


async def test_drain_ends_in_an_error_for_those_that_take_too_long(
    start_scheduler: Callable[..., Any],
) -> None:
    one = await start_scheduler(never_end=True, seconds_per_token=0.2)
    session = await one.submit(GenerateRequest(messages=MESSAGES))
    reading = asyncio.create_task(listen(session))
    await asyncio.sleep(0.02)
    one.drain(grace_s=30)
    one.drain(grace_s=0.05)  # told again, and more urgently
    assert isinstance((await reading)[-1], events.Failed)
    assert isinstance(session.error, Unavailable)


async def test_stop_while_measuring_leaves_nothing(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> None:
    engine = scripted(never_end=True, seconds_per_token=0.01)
    one = Scheduler(tiny_model, engine)
    starting = asyncio.create_task(one.start())
    while engine.load().num_requests == 0:
        await asyncio.sleep(0.001)
    starting.cancel()
    await one.stop()
    assert engine.load().num_requests == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("any-")]


async def test_a_long_prompt_does_not_hold_up_others(
    start_scheduler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await start_scheduler()
    opening, go_on = await open_slowly(one, monkeypatch)
    assert isinstance((await listen(await one.submit(GenerateRequest(messages=MESSAGES))))[-1], events.Done)
    go_on.set()
    assert isinstance((await listen(await opening))[-1], events.Done)


async def test_metrics_count(start_scheduler: Callable[..., Any]) -> None:
    one = await start_scheduler(never_end=True)
    metrics = Metrics.of(one)
    for budget in (3, 4):
        await listen(await one.submit(GenerateRequest(messages=MESSAGES, budget_tokens=budget)))
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
    one = Scheduler(model, engine, measure_speed=False, sheds_load=True)
    await one.start()
    sessions = [await one.submit(GenerateRequest(messages=MESSAGES, budget_tokens=60)) for _ in range(10)]
    for session in sessions:
        await session.ended()
    stops = [session.done.stop for session in sessions if session.done is not None]
    assert len(stops) == 10
    shed = [stop for stop in stops if stop.cause is Cause.LOAD]
    assert all(8 <= stop.thinking_tokens < 60 for stop in shed)
    assert len(shed) >= 6
    assert stops[-1].cause is Cause.BUDGET  # nobody waits behind the last
    await one.stop()


async def test_a_failed_start_is_not_reported_as_loading(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(engine: ScriptedEngine) -> None:
        raise UnusableModel("no such weights")

    monkeypatch.setattr(ScriptedEngine, "start", fails)
    one = Scheduler(tiny_model, scripted())
    with pytest.raises(UnusableModel):
        await one.start()
    assert one.not_ready_because == "the model could not be loaded"
    with pytest.raises(Unavailable, match="could not be loaded") as refused:
        await one.submit(GenerateRequest(messages=MESSAGES))
    assert refused.value.retry_after_s is None
