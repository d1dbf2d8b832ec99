"""Early answers at requested budgets, probes that stop the thinking, and their end with the session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anytime_server.errors import EngineFailed
from anytime_server.reasoning import Cause
from anytime_server.session import Session, events
from anytime_server.types import StopWhen

from .conftest import (
    FakeLease,
    collect,
    finished,
    num_engine_requests,
    run_session,
    set_first_token_s,
    start_reading,
)


def answers(emitted: list[events.Event]) -> list[events.AnswerDone]:
    return [event for event in emitted if isinstance(event, events.AnswerDone)]


def provisional(emitted: list[events.Event]) -> dict[int, str]:
    return {answer.at_tokens: answer.text for answer in answers(emitted) if answer.provisional}


def stop_when(stable: int = 3, every_tokens: int = 4, min_confidence: float = 0.0) -> dict[str, Any]:
    return {"stop_when": StopWhen(stable=stable, every_tokens=every_tokens, min_confidence=min_confidence)}


async def test_each_budget_gets_an_answer_from_the_thinking_up_to_it(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=30,
        never_end=True,
        settle_after=100,
        fields={"budgets": (0, 1, 7, 20)},
        seconds_per_token=0.001,
    )
    emitted = await run_session(session)
    assert provisional(emitted) == {0: "0", 1: "1", 7: "7", 20: "20"}
    [final] = [answer for answer in answers(emitted) if not answer.provisional]
    assert (final.at_tokens, final.text) == (30, "30")
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.BUDGET, 30)
    assert done.usage.provisional_tokens == sum(a.answer_tokens for a in answers(emitted) if a.provisional)
    assert num_engine_requests(session) == 0


async def test_each_answer_has_its_own_index(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=30,
        never_end=True,
        settle_after=100,
        fields={"budgets": (5, 6, 7)},
        seconds_per_token=0.001,
    )
    emitted = await run_session(session)
    texts: dict[int, str] = {}
    for event in emitted:
        if isinstance(event, events.AnswerStarted):
            assert event.index not in texts
            assert (event.cause is None) == event.provisional
            texts[event.index] = ""
        elif isinstance(event, events.AnswerDelta):
            texts[event.index] += event.text
        elif isinstance(event, events.AnswerDone):
            assert texts[event.index] == event.text
    assert len(texts) == 4


async def test_answer_at_the_last_budget_is_the_final_answer(open_session: Any) -> None:
    session = await open_session(budget_tokens=8, never_end=True, fields={"budgets": (4, 8)})
    emitted = await run_session(session)
    assert [(a.at_tokens, a.provisional) for a in answers(emitted)] == [(4, True), (8, False)]


async def test_budgets_after_the_natural_end_get_no_early_answer(open_session: Any) -> None:
    session = await open_session(budget_tokens=50, thinking_tokens=9, fields={"budgets": (8, 9, 10)})
    emitted = await run_session(session)
    assert list(provisional(emitted)) == [8]
    assert finished(session).stop.cause is Cause.NATURAL


async def test_early_answers_over_the_concurrency_limit_wait_and_none_is_lost(open_session: Any) -> None:
    budgets = tuple(range(1, 20))
    session = await open_session(
        budget_tokens=20, never_end=True, settle_after=99, max_early_answers=2, fields={"budgets": budgets}
    )
    max_requests = 0
    session.start()
    reading = asyncio.create_task(collect(session))
    while not reading.done():
        max_requests = max(max_requests, num_engine_requests(session))
        await asyncio.sleep(0)
    assert list(provisional(await reading)) == list(budgets)
    assert max_requests <= 3


async def test_blank_early_answer_is_dropped(open_session: Any) -> None:
    session = await open_session(budget_tokens=12, never_end=True, answer=" ", fields={"budgets": (4,)})
    emitted = await run_session(session)
    assert answers(emitted) == []
    assert isinstance(emitted[-1], events.Failed)
    assert emitted[-1].error.code == "empty_answer"  # from the final answer, which is never dropped


async def test_cancel_aborts_early_answers(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=400, never_end=True, seconds_per_token=0.01, answer="x" * 8, fields={"budgets": (1, 2)}
    )
    reading = await start_reading(session)
    while num_engine_requests(session) < 3:
        await asyncio.sleep(0.001)
    session.cancel()
    emitted = await reading
    assert isinstance(emitted[-1], events.Failed)
    assert num_engine_requests(session) == 0


async def test_late_early_answers_are_dropped_at_the_deadline(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=4,
        deadline_s=0.3,
        never_end=True,
        seconds_per_token=0.02,
        answer="x" * 8,
        max_early_answers=1,
        fields={"budgets": (0, 1, 2, 3)},
    )
    emitted = await run_session(session)
    assert finished(session).answer == "x" * 8
    assert 0 < len(provisional(emitted)) < 4
    assert num_engine_requests(session) == 0


async def test_thinking_stops_once_answers_agree(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=400, never_end=True, settle_after=10, seconds_per_token=0.001, fields=stop_when(3, 4)
    )
    emitted = await run_session(session)
    done = finished(session)
    # Probes at 4 and 8 differ, those at 12, 16 and 20 agree.
    found = provisional(emitted)
    assert [found[at] for at in (4, 8, 12, 16, 20)] == ["4", "8", "42", "42", "42"]
    assert done.stop.cause is Cause.STABLE
    assert 20 <= done.stop.thinking_tokens < 40
    # The last of them is the final answer; it is sampled and counted once.
    final = answers(emitted)[-1]
    assert (final.at_tokens, final.text, final.provisional, done.answer) == (20, "42", False, "42")
    assert done.usage.answer_tokens == final.answer_tokens == 3
    early_tokens = sum(a.answer_tokens for a in answers(emitted) if a.provisional)
    assert done.usage.provisional_tokens >= early_tokens - final.answer_tokens
    started = [event for event in emitted if isinstance(event, events.AnswerStarted)]
    assert [event.index for event in started] == [answer.index for answer in answers(emitted)]
    assert num_engine_requests(session) == 0


async def test_answers_below_the_minimum_confidence_agree_with_no_other(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=60, never_end=True, seconds_per_token=0.001, fields=stop_when(2, 4, min_confidence=1.0)
    )
    await run_session(session)
    assert finished(session).stop.cause is Cause.BUDGET


async def test_probe_at_a_requested_budget_is_the_early_answer_there(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=400,
        never_end=True,
        settle_after=6,
        seconds_per_token=0.001,
        fields={"budgets": (8, 10)} | stop_when(2, 4),
    )
    emitted = await run_session(session)
    assert finished(session).stop.cause is Cause.STABLE
    assert [a.at_tokens for a in answers(emitted) if a.provisional].count(8) == 1
    assert 10 in provisional(emitted)


async def test_agreement_after_answer_now_is_ignored(open_session: Any) -> None:
    session: Session = await open_session(
        budget_tokens=400, never_end=True, seconds_per_token=0.002, answer="x" * 8, fields=stop_when(2, 2)
    )
    reading = await start_reading(session)
    while session.thinking_tokens < 3:
        await asyncio.sleep(0.001)
    session.answer_now()
    await reading
    assert finished(session).stop.cause is Cause.CLIENT
    assert num_engine_requests(session) == 0


@pytest.mark.parametrize("every_tokens", [1, 3])
async def test_probes_do_not_use_the_thinking_budget(open_session: Any, every_tokens: int) -> None:
    session = await open_session(
        budget_tokens=12, never_end=True, settle_after=99, fields=stop_when(5, every_tokens)
    )
    await run_session(session)
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens) == (Cause.BUDGET, 12)


async def test_requested_early_answers_precede_probes(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=60, never_end=True, seconds_per_token=0.002, settle_after=999, max_early_answers=2,
        fields={"budgets": (20,)} | stop_when(9, 1),
    )  # fmt: skip
    emitted = await run_session(session)
    position = [isinstance(e, events.AnswerDone) and e.at_tokens == 20 for e in emitted].index(True)
    counts = [e.total_tokens for e in emitted[:position] if isinstance(e, events.ThinkingDelta)]
    assert counts[-1] < 50


async def test_frequent_probes_stay_within_the_concurrency_limit(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=400,
        never_end=True,
        settle_after=999,
        first_token_s=0.2,
        max_early_answers=2,
        fields=stop_when(9, 1),
    )
    set_first_token_s(session, 0.0)
    reading = await start_reading(session)
    set_first_token_s(session, 5.0)
    while session.thinking_tokens < 390 and not reading.done():
        await asyncio.sleep(0)
    assert num_engine_requests(session) <= 1 + 2  # the thinking and two probes
    session.cancel()
    await reading
    assert num_engine_requests(session) == 0


async def test_failed_early_answer_does_not_affect_the_others(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=40, never_end=True, seconds_per_token=0.002, fields={"budgets": (4, 20)}
    )
    generate = session.runtime.engine.generate

    async def fails_once(request: Any) -> Any:
        if request.id.endswith("answer-0-0"):
            raise EngineFailed("this request fails")
        async for delta in generate(request):
            yield delta

    session.runtime.engine.generate = fails_once
    emitted = await run_session(session)
    assert list(provisional(emitted)) == [20]
    assert finished(session).answer == "42"


async def test_answer_where_load_shedding_truncates_is_the_final_answer(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=40, never_end=True, fields={"budgets": (8, 10)}, lease=FakeLease(limit=10)
    )
    emitted = await run_session(session)
    assert finished(session).stop.cause is Cause.LOAD
    assert [(a.at_tokens, a.provisional) for a in answers(emitted)] == [(8, True), (10, False)]
