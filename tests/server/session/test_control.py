"""Controls of a session: answer now, cancel, abandon; and what its deadline takes into account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest
from anytime_server.errors import AlreadyAnswering, Unavailable
from anytime_server.reasoning import Cause
from anytime_server.session import SlotKind, events
from anytime_server.session.latency import LatencyEstimator

from .conftest import (
    FakeLease,
    close_slowly,
    collect,
    finished,
    num_engine_requests,
    run_session,
    set_first_token_s,
    start_reading,
    thinking_text,
)


async def test_answer_now_truncates_the_thinking_where_it_is(open_session: Any) -> None:
    session = await open_session(budget_tokens=400, never_end=True, seconds_per_token=0.002)
    session.start()
    reading = asyncio.create_task(collect(session))
    while session.thinking_tokens < 5:
        await asyncio.sleep(0.001)
    at_tokens = session.answer_now()
    with pytest.raises(AlreadyAnswering):
        session.answer_now()
    emitted = await reading
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.CLIENT, at_tokens)
    assert len(thinking_text(emitted)) == at_tokens
    assert done.answer == "42"


async def test_answer_now_before_the_start_answers_without_thinking(open_session: Any) -> None:
    session = await open_session(budget_tokens=400, never_end=True, first_token_s=30.0)
    assert session.answer_now() == 0
    set_first_token_s(session, 0.0)
    await run_session(session)
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.CLIENT, 0)


async def test_answer_now_before_the_first_token_answers_without_thinking(open_session: Any) -> None:
    session = await open_session(budget_tokens=400, never_end=True, first_token_s=0.3)
    session.start()
    reading = asyncio.create_task(collect(session))
    while session.phase != "thinking":
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert session.answer_now() == 0
    await reading
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.CLIENT, 0)


async def test_answer_now_is_refused_while_the_deadline_truncates(open_session: Any) -> None:
    """The deadline came first, and the engine has not closed the thinking request yet."""
    session = await open_session(budget_tokens=400, deadline_s=0.05, never_end=True, first_token_s=0.2)
    closing, _ = close_slowly(session)
    session.start()
    reading = asyncio.create_task(collect(session))
    await closing.wait()
    with pytest.raises(AlreadyAnswering):
        session.answer_now()
    await reading
    assert finished(session).stop.cause is Cause.DEADLINE


async def test_answer_now_after_the_end_is_refused(open_session: Any) -> None:
    session = await open_session(budget_tokens=3)
    await run_session(session)
    with pytest.raises(AlreadyAnswering):
        session.answer_now()


@pytest.mark.parametrize("phase", ["thinking", "answering"])
async def test_session_without_a_reader_is_aborted_in_the_engine(open_session: Any, phase: str) -> None:
    tokens = 400 if phase == "thinking" else 0
    session = await open_session(
        budget_tokens=tokens, never_end=True, seconds_per_token=0.02, answer="a long answer"
    )
    reading = await start_reading(session)
    assert session.phase == phase
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await session.ended()
    assert num_engine_requests(session) == 0
    assert session.done is None
    assert session.error is None


async def test_cancel_ends_the_events_with_failed(open_session: Any) -> None:
    session = await open_session(budget_tokens=400, never_end=True, seconds_per_token=0.01)
    reading = await start_reading(session)
    session.cancel()
    emitted = await reading
    assert isinstance(emitted[-1], events.Failed)
    assert emitted[-1].error.code == "cancelled"
    assert num_engine_requests(session) == 0


async def test_cancel_before_the_first_step_releases_the_lease(open_session: Any) -> None:
    lease = FakeLease()
    session = await open_session(lease=lease)
    session.start()
    session.cancel()
    emitted = await collect(session)
    assert [type(event) for event in emitted] == [events.Started, events.Failed]
    assert lease.num_released == 1
    assert session.phase == "ended"


async def test_second_cancel_neither_interrupts_clean_up_nor_changes_the_error(open_session: Any) -> None:
    session = await open_session(budget_tokens=400, never_end=True, seconds_per_token=0.01)
    closing, closed = close_slowly(session)
    await start_reading(session)
    session.cancel()
    await closing.wait()
    session.abandon()
    session.cancel(Unavailable("again"))
    with pytest.raises(AlreadyAnswering):
        session.answer_now()
    await session.ended()
    assert closed.is_set()
    assert str(session.error) == "the session was cancelled"


async def test_unrequested_cancellation_is_an_internal_error(open_session: Any) -> None:
    session = await open_session()
    lost = asyncio.get_running_loop().create_future()
    lost.cancel()

    async def generate(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        await lost
        yield Delta(token_ids=(), logprobs=(), cached_tokens=0, finish_reason="stop")

    session.runtime.engine.generate = generate
    emitted = await run_session(session)
    assert isinstance(emitted[-1], events.Failed)
    assert emitted[-1].error.code == "internal_error"


@pytest.mark.parametrize("tokens", [400, 0])
async def test_unrequested_abort_is_an_engine_error(open_session: Any, tokens: int) -> None:
    session = await open_session(budget_tokens=tokens)

    async def aborts(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        yield Delta(token_ids=(), logprobs=(), cached_tokens=0, finish_reason="abort")

    session.runtime.engine.generate = aborts
    emitted = await run_session(session)
    assert isinstance(emitted[-1], events.Failed)
    assert emitted[-1].error.code == "engine_failed"


async def test_reader_gets_empty_batches_while_no_event_comes(open_session: Any) -> None:
    session = await open_session(budget_tokens=3, first_token_s=0.1)
    session.start()
    batches = [batch async for batch in session.read(idle_s=0.02)]
    assert [] in batches
    assert isinstance(batches[-1][-1], events.Done)


async def test_deadline_of_a_waiting_session_follows_the_measured_latency(open_session: Any) -> None:
    """Latency measured while the session waits leaves no time for thinking."""
    latency = LatencyEstimator()
    lease = FakeLease(full=[SlotKind.THINKING])
    session = await open_session(
        budget_tokens=400, deadline_s=30.0, never_end=True, latency=latency, lease=lease
    )
    session.start()
    reading = asyncio.create_task(collect(session))
    await asyncio.sleep(0.01)
    assert session.phase == "waiting"
    latency.record_switch(seconds=60.0)
    emitted = await asyncio.wait_for(reading, timeout=5)
    assert isinstance(emitted[-1], events.Done)
    assert (emitted[-1].stop.cause, emitted[-1].stop.thinking_tokens) == (Cause.DEADLINE, 0)


async def test_deadline_includes_the_time_of_an_uncached_prompt(open_session: Any) -> None:
    latency = LatencyEstimator()
    latency.record_prefill(num_tokens=140, seconds=1200.0)
    session = await open_session(budget_tokens=400, deadline_s=30.0, never_end=True, latency=latency)
    await run_session(session)
    assert finished(session).stop.thinking_tokens == 0


async def test_deadline_of_a_waiting_session_includes_the_answers_ahead(open_session: Any) -> None:
    latency = LatencyEstimator()
    latency.record_switch(seconds=2.0)
    lease = FakeLease(full=[SlotKind.THINKING], ahead=50.0)
    session = await open_session(
        budget_tokens=400, deadline_s=30.0, never_end=True, latency=latency, lease=lease
    )
    emitted = await asyncio.wait_for(run_session(session), timeout=5)
    assert isinstance(emitted[-1], events.Done)
    assert emitted[-1].stop.cause is Cause.DEADLINE


async def test_time_from_truncation_to_answer_is_small_after_a_hopeless_deadline(open_session: Any) -> None:
    latency = LatencyEstimator()
    latency.record_switch(seconds=60.0)
    session = await open_session(budget_tokens=400, deadline_s=1.0, never_end=True, latency=latency)
    await run_session(session)
    timing = finished(session).timing
    assert timing.cut_to_answer_s <= timing.time_to_answer_s < 10


async def test_extend_is_refused_while_waiting_for_an_answer_slot(open_session: Any) -> None:
    """A slot for an answer cannot be used for thinking."""
    session = await open_session(budget_tokens=0, lease=FakeLease(full=[SlotKind.ANSWER]))
    session.start()
    await asyncio.sleep(0.01)
    with pytest.raises(AlreadyAnswering):
        session.extend(5)
    session.cancel()
    await session.ended()
