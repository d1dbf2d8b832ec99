"""Sessions that are told to answer, to end, or left alone."""

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
    TestLease,
    begin,
    closes_slowly,
    collect,
    finished,
    listen,
    num_engine_requests,
    thinking_text,
)


async def test_answer_now(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, seconds_per_token=0.002)
    session.start()
    reading = asyncio.create_task(collect(session))
    while session.thinking_tokens < 5:
        await asyncio.sleep(0.001)
    at_tokens = session.answer_now()
    with pytest.raises(AlreadyAnswering):
        session.answer_now()
    said = await reading
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.CLIENT, at_tokens)
    assert len(thinking_text(said)) == at_tokens
    assert done.answer == "42"


async def test_answer_now_before_anything(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, first_token_s=30.0)
    assert session.answer_now() == 0
    session.runtime.engine._script = session.runtime.engine._script.model_copy(update={"first_token_s": 0.0})
    await listen(session)
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.CLIENT, 0)


async def test_answer_now_while_the_first_token_is_awaited(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, first_token_s=0.3)
    session.start()
    reading = asyncio.create_task(collect(session))
    while session.phase != "thinking":
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert session.answer_now() == 0
    await reading
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.CLIENT, 0)


async def test_answer_now_while_the_deadline_cuts(open_session: Any) -> None:
    """The clock was first, and the engine is not rid of the thinking yet."""
    session = await open_session(tokens=400, deadline_s=0.05, never_end=True, first_token_s=0.2)
    closing, _ = closes_slowly(session)
    session.start()
    reading = asyncio.create_task(collect(session))
    await closing.wait()
    with pytest.raises(AlreadyAnswering):
        session.answer_now()
    await reading
    assert finished(session).stop.cause is Cause.DEADLINE


async def test_answer_now_after_the_end(open_session: Any) -> None:
    session = await open_session(tokens=3)
    await listen(session)
    with pytest.raises(AlreadyAnswering):
        session.answer_now()


@pytest.mark.parametrize("phase", ["thinking", "answering"])
async def test_a_reader_that_goes_leaves_nothing(open_session: Any, phase: str) -> None:
    tokens = 400 if phase == "thinking" else 0
    session = await open_session(
        tokens=tokens, never_end=True, seconds_per_token=0.02, answer="a long answer"
    )
    reading = await begin(session)
    assert session.phase == phase
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await session.ended()
    assert num_engine_requests(session) == 0
    assert session.done is None
    assert session.error is None


async def test_cancel_tells_the_reader(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, seconds_per_token=0.01)
    reading = await begin(session)
    session.cancel()
    said = await reading
    assert isinstance(said[-1], events.Failed)
    assert said[-1].error.code == "cancelled"
    assert num_engine_requests(session) == 0


async def test_cancel_before_the_first_step(open_session: Any) -> None:
    lease = TestLease()
    session = await open_session(lease=lease)
    session.start()
    session.cancel()
    said = await collect(session)
    assert [type(event) for event in said] == [events.Started, events.Failed]
    assert lease.num_released == 1
    assert session.phase == "ended"


async def test_told_to_end_twice_cleans_up_once_and_whole(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, seconds_per_token=0.01)
    closing, closed = closes_slowly(session)
    await begin(session)
    session.cancel()
    await closing.wait()
    session.abandon()
    session.cancel(Unavailable("again"))
    with pytest.raises(AlreadyAnswering):
        session.answer_now()
    await session.ended()
    assert closed.is_set()
    assert str(session.error) == "the session was cancelled"


async def test_a_cancellation_that_nobody_asked_for_is_an_error(open_session: Any) -> None:
    session = await open_session()
    lost = asyncio.get_running_loop().create_future()
    lost.cancel()

    async def generate(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        await lost
        yield Delta(token_ids=(), logprobs=(), cached_tokens=0, finish_reason="stop")

    session.runtime.engine.generate = generate
    said = await listen(session)
    assert isinstance(said[-1], events.Failed)
    assert said[-1].error.code == "internal_error"


@pytest.mark.parametrize("tokens", [400, 0])
async def test_an_abort_that_nobody_asked_for_is_an_error(open_session: Any, tokens: int) -> None:
    session = await open_session(
        tokens=tokens, never_end=True, seconds_per_token=0.01, answer="a long answer"
    )
    reading = await begin(session)
    [request_id] = session.runtime.engine._requests
    await session.runtime.engine.abort(request_id)
    said = await reading
    assert isinstance(said[-1], events.Failed)
    assert said[-1].error.code == "engine_failed"


async def test_idle_reader_gets_empty_batches(open_session: Any) -> None:
    session = await open_session(tokens=3, first_token_s=0.1)
    session.start()
    batches = [batch async for batch in session.read(idle_s=0.02)]
    assert [] in batches
    assert isinstance(batches[-1][-1], events.Done)


async def test_a_waiting_sessions_deadline_follows_the_speed(open_session: Any) -> None:
    """The answer would have come in time by the speed at first; it does by what is measured meanwhile."""
    speed = LatencyEstimator()
    lease = TestLease(full=[SlotKind.THINKING])
    session = await open_session(tokens=400, deadline_s=30.0, never_end=True, speed=speed, lease=lease)
    session.start()
    reading = asyncio.create_task(collect(session))
    await asyncio.sleep(0.01)
    assert session.phase == "waiting"
    speed.record_switch(seconds=60.0)
    said = await asyncio.wait_for(reading, timeout=5)
    assert isinstance(said[-1], events.Done)
    assert (said[-1].stop.cause, said[-1].stop.thinking_tokens) == (Cause.DEADLINE, 0)


async def test_a_prompt_that_is_not_computed_is_part_of_what_the_answer_costs(open_session: Any) -> None:
    speed = LatencyEstimator()
    speed.record_prefill(num_tokens=140, seconds=1200.0)
    session = await open_session(tokens=400, deadline_s=30.0, never_end=True, speed=speed)
    await listen(session)
    assert finished(session).stop.thinking_tokens == 0


async def test_who_waits_in_a_crowd_is_cut_before_the_others_want_to_answer(open_session: Any) -> None:
    speed = LatencyEstimator()
    speed.record_switch(seconds=2.0)
    lease = TestLease(full=[SlotKind.THINKING], ahead=50.0)
    session = await open_session(tokens=400, deadline_s=30.0, never_end=True, speed=speed, lease=lease)
    said = await asyncio.wait_for(listen(session), timeout=5)
    assert isinstance(said[-1], events.Done)
    assert said[-1].stop.cause is Cause.DEADLINE


async def test_a_deadline_that_was_hopeless_says_nothing_of_the_switch(open_session: Any) -> None:
    speed = LatencyEstimator()
    speed.record_switch(seconds=60.0)
    session = await open_session(tokens=400, deadline_s=1.0, never_end=True, speed=speed)
    await listen(session)
    timing = finished(session).timing
    assert timing.cut_to_answer_s <= timing.time_to_answer_s < 10


async def test_who_has_only_to_answer_is_not_extended(open_session: Any) -> None:
    """Its place is not one to think in."""
    session = await open_session(tokens=0, lease=TestLease(full=[SlotKind.ANSWER]))
    session.start()
    await asyncio.sleep(0.01)
    with pytest.raises(AlreadyAnswering):
        session.extend(5)
    session.cancel()
    await session.ended()
