"""Sessions on the scripted engine: causes, counts, controls and faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from anytime_server import events
from anytime_server.engine import Delta, GenerationRequest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import AlreadyAnswering, Unavailable
from anytime_server.model import Model
from anytime_server.reasoning import Budget, Cause
from anytime_server.session import Session, SessionRequest
from anytime_server.speed import SpeedMeter

PROMPT_IDS = [257, 22, 12, 18, 259, 258, 260]


@pytest.fixture
def open_session(scripted: Callable[..., ScriptedEngine], tiny_model: Model) -> Any:
    """Makes a session that has not started, on an engine that plays the given script."""

    async def make(
        *,
        tokens: int = 50,
        deadline_s: float | None = None,
        cause: Cause = Cause.BUDGET,
        seed: int | None = 1,
        speed: SpeedMeter | None = None,
        **script: Any,
    ) -> Session:
        engine = scripted(**script)
        await engine.start()
        request = SessionRequest(
            id="any-1",
            prompt_ids=PROMPT_IDS,
            budget=Budget(tokens=tokens, answer_tokens=8, deadline_s=deadline_s, cause=cause),
            thinking_temperature=0.6,
            thinking_top_p=0.95,
            answer_temperature=0.0,
            answer_top_p=1.0,
            seed=seed,
            arrived_at=time.monotonic(),
        )
        return Session(request, engine=engine, model=tiny_model, speed=speed or SpeedMeter())

    return make


async def listen(session: Session) -> list[events.Event]:
    session.start()
    return [event async for batch in session.read() for event in batch]


def thinking_text(said: list[events.Event]) -> str:
    return "".join(event.text for event in said if isinstance(event, events.ThinkingDelta))


def finished(session: Session) -> events.Done:
    assert session.done is not None
    return session.done


def num_engine_requests(session: Session) -> int:
    return session._engine.load().num_requests


@pytest.mark.parametrize("budget", [1, 2, 7, 49, 300])
async def test_budget_is_exact(open_session: Any, budget: int) -> None:
    session = await open_session(tokens=budget, never_end=True)
    said = await listen(session)
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens, stop.budget_tokens) == (Cause.BUDGET, budget, budget)
    last = [event for event in said if isinstance(event, events.ThinkingDelta)][-1]
    assert last.total_tokens == budget
    assert len(thinking_text(said)) == budget  # one byte a token in this tokenizer


async def test_budget_of_nothing_answers_at_once(open_session: Any) -> None:
    session = await open_session(tokens=0)
    said = await listen(session)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens, done.answer) == (Cause.BUDGET, 0, "42")
    assert done.usage.inserted_tokens == 1 + len("Answer: ")
    assert thinking_text(said) == ""


async def test_natural_end_counts_the_think_end(open_session: Any) -> None:
    session = await open_session(tokens=50, thinking_tokens=10)
    said = await listen(session)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.NATURAL, 10)
    assert done.usage.inserted_tokens == len("Answer: ")
    assert len(thinking_text(said)) == 9


async def test_think_end_as_last_token_of_the_budget_is_natural(open_session: Any) -> None:
    session = await open_session(tokens=10, thinking_tokens=10)
    await listen(session)
    assert finished(session).stop.cause is Cause.NATURAL


async def test_cut_inserts_truncation_think_end_and_lead_in(open_session: Any) -> None:
    session = await open_session(tokens=10, thinking_tokens=11)
    await listen(session)
    done = finished(session)
    assert done.stop.cause is Cause.BUDGET
    assert done.usage.inserted_tokens == len("...") + 1 + len("Answer: ")


async def test_context_is_told_from_budget(open_session: Any) -> None:
    session = await open_session(tokens=20, cause=Cause.CONTEXT, never_end=True)
    await listen(session)
    assert finished(session).stop.cause is Cause.CONTEXT


async def test_events_come_in_order_and_add_up(open_session: Any) -> None:
    session = await open_session(tokens=12, never_end=True, answer="forty-two")
    said = await listen(session)
    kinds = [event.type for event in said]
    assert kinds[0] == "started"
    assert kinds[1:13] == ["thinking"] * 12
    assert kinds[13] == "answer.started"
    assert kinds[-2:] == ["answer.done", "done"]
    assert set(kinds[14:-2]) == {"answer.delta"}
    answer = "".join(event.text for event in said if isinstance(event, events.AnswerDelta))
    done = finished(session)
    assert answer == done.answer == "forty-tw"  # 8 tokens at most
    [answer_done] = [event for event in said if isinstance(event, events.AnswerDone)]
    assert (answer_done.finish_reason, answer_done.answer_tokens) == ("length", 8)
    assert 0 < answer_done.confidence < 1
    usage = done.usage
    assert (usage.prompt_tokens, usage.thinking_tokens, usage.answer_tokens) == (len(PROMPT_IDS), 12, 8)


async def test_same_seed_same_result(open_session: Any) -> None:
    texts = []
    for seed in (5, 5, 6):
        session = await open_session(tokens=40, seed=seed)
        texts.append((thinking_text(await listen(session)), finished(session).stop))
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


async def test_answer_now(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, seconds_per_token=0.002)
    session.start()
    reading = asyncio.create_task(_collect(session))
    while len(session._thinking.token_ids) < 5:
        await asyncio.sleep(0.001)
    at_tokens = session.answer_now()
    with pytest.raises(AlreadyAnswering):
        session.answer_now()
    said = await reading
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.CLIENT, at_tokens)
    assert len(thinking_text(said)) == at_tokens
    assert done.answer == "42"


async def _collect(session: Session) -> list[events.Event]:
    return [event async for batch in session.read() for event in batch]


async def test_answer_now_before_anything(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, first_token_s=30.0)
    assert session.answer_now() == 0
    session._engine._script = session._engine._script.model_copy(update={"first_token_s": 0.0})
    await listen(session)
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.CLIENT, 0)


async def test_answer_now_while_the_first_token_is_awaited(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, first_token_s=0.3)
    session.start()
    reading = asyncio.create_task(_collect(session))
    while session.phase != "thinking":
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert session.answer_now() == 0
    await reading
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.CLIENT, 0)


async def test_answer_now_while_the_deadline_cuts(open_session: Any) -> None:
    """The clock was first, and the engine is not rid of the thinking yet."""
    session = await open_session(tokens=400, deadline_s=0.05, never_end=True, first_token_s=0.2)
    engine = session._engine
    generate, closing = engine.generate, asyncio.Event()

    async def slow_to_close(request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        async with aclosing(generate(request)) as deltas:
            try:
                async for delta in deltas:
                    yield delta
            finally:
                closing.set()
                await asyncio.sleep(0.05)

    engine.generate = slow_to_close
    session.start()
    reading = asyncio.create_task(_collect(session))
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


async def test_deadline_cuts(open_session: Any) -> None:
    """In time for an answer of 3 tokens that takes 0.75 s."""
    speed = SpeedMeter()
    speed.record_switch(seconds=0.25)
    speed.record_answer(answer_tokens=3)
    speed.record_decoding(num_tokens=4, seconds=1.0)
    session = await open_session(
        tokens=400, deadline_s=2.0, never_end=True, seconds_per_token=0.25, speed=speed
    )
    await listen(session)
    done = finished(session)
    assert done.stop.cause is Cause.DEADLINE
    # Thinking may go on until 2 - 0.25 - 3 x 0.25 = 1 s.
    assert 1 <= done.stop.thinking_tokens <= 4
    assert done.timing.total_s < 2.0
    assert done.answer == "42"


async def test_deadline_that_has_passed_answers_at_once(open_session: Any) -> None:
    session = await open_session(tokens=400, deadline_s=-1.0, never_end=True)
    await listen(session)
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.DEADLINE, 0)


async def test_deadline_cuts_a_thinking_that_never_starts(open_session: Any) -> None:
    """The clock is heeded also while no token comes."""
    session = await open_session(tokens=400, deadline_s=0.1, never_end=True, first_token_s=0.3)
    await listen(session)
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.DEADLINE, 0)


@pytest.mark.parametrize("fault", ["think_end_twice", "reopened_thinking"])
async def test_think_tokens_never_show_in_the_answer(open_session: Any, fault: str) -> None:
    session = await open_session(tokens=10, fault=fault)
    await listen(session)
    assert finished(session).answer == "42"


async def test_end_of_turn_within_thinking_still_gets_an_answer(open_session: Any) -> None:
    session = await open_session(tokens=50, thinking_tokens=10, fault="eos_in_thinking")
    await listen(session)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.NATURAL, 10)
    assert done.usage.inserted_tokens == 1 + len("Answer: ")
    assert done.answer == "42"


async def test_blank_answer_is_sampled_again(open_session: Any) -> None:
    session = await open_session(tokens=5, fault="blank_answer")
    said = await listen(session)
    done = finished(session)
    assert done.answer == "42"
    assert "".join(event.text for event in said if isinstance(event, events.AnswerDelta)) == "42"
    [answer] = [event for event in said if isinstance(event, events.AnswerDone)]
    # A blank and an end of turn, then the answer and an end of turn.
    assert (answer.answer_tokens, done.usage.answer_tokens) == (3, 2 + 3)


async def test_answer_that_stays_blank_is_an_error(open_session: Any) -> None:
    session = await open_session(tokens=5, answer=" \n \n")
    said = await listen(session)
    assert isinstance(said[-1], events.ErrorEvent)
    assert said[-1].error.code == "empty_answer"


@pytest.mark.parametrize("die_after_tokens", [1, 10, 11, 12])
async def test_engine_death_is_one_error(open_session: Any, die_after_tokens: int) -> None:
    """In the thinking (10 tokens) and in the answer."""
    session = await open_session(tokens=10, never_end=True, die_after_tokens=die_after_tokens)
    said = await listen(session)
    assert [event.type for event in said if event.type in ("done", "error")] == ["error"]
    assert isinstance(said[-1], events.ErrorEvent)
    assert said[-1].error.code == "engine_dead"


@pytest.mark.parametrize("phase", ["thinking", "answering"])
async def test_a_reader_that_goes_leaves_nothing(open_session: Any, phase: str) -> None:
    tokens = 400 if phase == "thinking" else 0
    session = await open_session(
        tokens=tokens, never_end=True, seconds_per_token=0.02, answer="a long answer"
    )
    session.start()
    reading = asyncio.create_task(_collect(session))
    while num_engine_requests(session) == 0:
        await asyncio.sleep(0.001)
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
    session.start()
    reading = asyncio.create_task(_collect(session))
    while num_engine_requests(session) == 0:
        await asyncio.sleep(0.001)
    session.cancel()
    said = await reading
    assert isinstance(said[-1], events.ErrorEvent)
    assert said[-1].error.code == "cancelled"
    assert num_engine_requests(session) == 0


async def test_cancel_before_the_first_step(open_session: Any) -> None:
    session = await open_session()
    ended: list[Session] = []
    session.start(on_end=ended.append)
    session.cancel()
    said = await _collect(session)
    assert [event.type for event in said] == ["started", "error"]
    assert ended == [session]
    assert session.phase == "ended"


async def test_told_to_end_twice_cleans_up_once_and_whole(open_session: Any) -> None:
    session = await open_session(tokens=400, never_end=True, seconds_per_token=0.01)
    engine = session._engine
    generate, closing, closed = engine.generate, asyncio.Event(), asyncio.Event()

    async def slow_to_close(request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        async with aclosing(generate(request)) as deltas:
            try:
                async for delta in deltas:
                    yield delta
            finally:
                closing.set()
                await asyncio.sleep(0.05)
                closed.set()

    engine.generate = slow_to_close
    session.start()
    while num_engine_requests(session) == 0:
        await asyncio.sleep(0.001)
    session.cancel()
    await closing.wait()
    session.abandon()
    session.cancel(Unavailable("again"))
    with pytest.raises(AlreadyAnswering):
        session.answer_now()
    await session.ended()
    assert closed.is_set()
    assert str(session.error) == "the session was cancelled"


@pytest.mark.parametrize("tokens", [400, 0])
async def test_an_abort_that_nobody_asked_for_is_an_error(open_session: Any, tokens: int) -> None:
    session = await open_session(
        tokens=tokens, never_end=True, seconds_per_token=0.01, answer="a long answer"
    )
    session.start()
    reading = asyncio.create_task(_collect(session))
    while num_engine_requests(session) == 0:
        await asyncio.sleep(0.001)
    [request_id] = session._engine._requests
    await session._engine.abort(request_id)
    said = await reading
    assert isinstance(said[-1], events.ErrorEvent)
    assert said[-1].error.code == "engine_failed"


@pytest.mark.parametrize(("tokens", "num_switches"), [(5, 1), (0, 0)])
async def test_an_answer_without_thinking_is_no_switch(
    open_session: Any, tokens: int, num_switches: int
) -> None:
    """It computes the whole prompt, which says nothing of what a cut costs."""
    speed = SpeedMeter()
    session = await open_session(tokens=tokens, never_end=True, first_token_s=0.05, speed=speed)
    await listen(session)
    assert len(speed._switch_s) == num_switches
    assert (speed.answer_cost_s(0) > 0) == (num_switches > 0)


async def test_idle_reader_gets_empty_batches(open_session: Any) -> None:
    session = await open_session(tokens=3, first_token_s=0.1)
    session.start()
    batches = [batch async for batch in session.read(idle_s=0.02)]
    assert [] in batches
    assert batches[-1][-1].type == "done"
