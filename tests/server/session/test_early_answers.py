"""Provisional answers, probes that agree, and what becomes of them when the thinking ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anytime_server.errors import EngineFailed
from anytime_server.reasoning import Cause
from anytime_server.session import Session, events
from anytime_server.types import StopWhen

from .conftest import TestLease, begin, collect, finished, listen, num_engine_requests


def answers(said: list[events.Event]) -> list[events.AnswerDone]:
    return [event for event in said if isinstance(event, events.AnswerDone)]


def provisional(said: list[events.Event]) -> dict[int, str]:
    return {answer.at_tokens: answer.text for answer in answers(said) if answer.provisional}


def settling(stable: int = 3, every_tokens: int = 4, min_confidence: float = 0.0) -> dict[str, Any]:
    stop_when = StopWhen(stable=stable, every_tokens=every_tokens, min_confidence=min_confidence)
    return {"stop_when": stop_when}


async def test_an_answer_at_each_budget_from_the_thinking_up_to_there(open_session: Any) -> None:
    session = await open_session(
        tokens=30,
        never_end=True,
        settle_after=100,
        fields={"budgets": (0, 1, 7, 20)},
        seconds_per_token=0.001,
    )
    said = await listen(session)
    assert provisional(said) == {0: "0", 1: "1", 7: "7", 20: "20"}
    [final] = [answer for answer in answers(said) if not answer.provisional]
    assert (final.at_tokens, final.text) == (30, "30")
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.BUDGET, 30)
    assert done.usage.provisional_tokens == sum(a.answer_tokens for a in answers(said) if a.provisional)
    assert num_engine_requests(session) == 0


async def test_each_answer_is_told_from_the_others_by_its_index(open_session: Any) -> None:
    session = await open_session(
        tokens=30, never_end=True, settle_after=100, fields={"budgets": (5, 6, 7)}, seconds_per_token=0.001
    )
    said = await listen(session)
    texts: dict[int, str] = {}
    for event in said:
        if isinstance(event, events.AnswerStarted):
            assert event.index not in texts
            assert (event.cause is None) == event.provisional
            texts[event.index] = ""
        elif isinstance(event, events.AnswerDelta):
            texts[event.index] += event.text
        elif isinstance(event, events.AnswerDone):
            assert texts[event.index] == event.text
    assert len(texts) == 4


async def test_the_last_budget_is_the_final_answers(open_session: Any) -> None:
    session = await open_session(tokens=8, never_end=True, fields={"budgets": (4, 8)})
    said = await listen(session)
    assert [(a.at_tokens, a.provisional) for a in answers(said)] == [(4, True), (8, False)]


async def test_no_provisional_answer_where_the_model_ended_first_or_just_there(open_session: Any) -> None:
    session = await open_session(tokens=50, thinking_tokens=9, fields={"budgets": (8, 9, 10)})
    said = await listen(session)
    assert list(provisional(said)) == [8]
    assert finished(session).stop.cause is Cause.NATURAL


async def test_forks_wait_for_seats_and_none_is_lost(open_session: Any) -> None:
    ladder = tuple(range(1, 20))
    session = await open_session(
        tokens=20, never_end=True, settle_after=99, max_early_answers=2, fields={"budgets": ladder}
    )
    most = 0
    session.start()
    reading = asyncio.create_task(collect(session))
    while not reading.done():
        most = max(most, num_engine_requests(session))
        await asyncio.sleep(0)
    assert list(provisional(await reading)) == list(ladder)
    assert most <= 3


async def test_a_blank_provisional_answer_is_left_out(open_session: Any) -> None:
    session = await open_session(tokens=12, never_end=True, answer=" ", fields={"budgets": (4,)})
    said = await listen(session)
    assert answers(said) == []
    assert isinstance(said[-1], events.Failed)
    assert said[-1].error.code == "empty_answer"  # the final one, which is never left out


async def test_a_cancelled_session_leaves_no_fork(open_session: Any) -> None:
    session = await open_session(
        tokens=400, never_end=True, seconds_per_token=0.01, answer="x" * 8, fields={"budgets": (1, 2)}
    )
    reading = await begin(session)
    while num_engine_requests(session) < 3:
        await asyncio.sleep(0.001)
    session.cancel()
    said = await reading
    assert isinstance(said[-1], events.Failed)
    assert num_engine_requests(session) == 0


async def test_forks_that_are_late_are_dropped_at_the_deadline(open_session: Any) -> None:
    session = await open_session(
        tokens=4,
        deadline_s=0.3,
        never_end=True,
        seconds_per_token=0.02,
        answer="x" * 8,
        max_early_answers=1,
        fields={"budgets": (0, 1, 2, 3)},
    )
    said = await listen(session)
    assert finished(session).answer == "x" * 8
    assert 0 < len(provisional(said)) < 4
    assert num_engine_requests(session) == 0


async def test_stops_once_answers_agree(open_session: Any) -> None:
    session = await open_session(
        tokens=400, never_end=True, settle_after=10, seconds_per_token=0.001, fields=settling(3, 4)
    )
    said = await listen(session)
    done = finished(session)
    # Probes at 4 and 8 differ, those at 12, 16 and 20 agree.
    found = provisional(said)
    assert [found[at] for at in (4, 8, 12, 16, 20)] == ["4", "8", "42", "42", "42"]
    assert done.stop.cause is Cause.STABLE
    assert 20 <= done.stop.thinking_tokens < 40
    # The last of them is the answer, and is sampled and counted once.
    final = answers(said)[-1]
    assert (final.at_tokens, final.text, final.provisional, done.answer) == (20, "42", False, "42")
    assert done.usage.answer_tokens == final.answer_tokens == 3
    told = sum(a.answer_tokens for a in answers(said) if a.provisional)
    assert done.usage.provisional_tokens >= told - final.answer_tokens
    started = [event for event in said if isinstance(event, events.AnswerStarted)]
    assert [event.index for event in started] == [answer.index for answer in answers(said)]
    assert num_engine_requests(session) == 0


async def test_unsure_answers_agree_with_none(open_session: Any) -> None:
    session = await open_session(
        tokens=60, never_end=True, seconds_per_token=0.001, fields=settling(2, 4, min_confidence=1.0)
    )
    await listen(session)
    assert finished(session).stop.cause is Cause.BUDGET


async def test_a_probe_where_the_client_wants_an_answer_is_that_answer(open_session: Any) -> None:
    session = await open_session(
        tokens=400,
        never_end=True,
        settle_after=6,
        seconds_per_token=0.001,
        fields={"budgets": (8, 10)} | settling(2, 4),
    )
    said = await listen(session)
    assert finished(session).stop.cause is Cause.STABLE
    assert [a.at_tokens for a in answers(said) if a.provisional].count(8) == 1
    assert 10 in provisional(said)


async def test_agreement_after_answer_now_changes_nothing(open_session: Any) -> None:
    session: Session = await open_session(
        tokens=400, never_end=True, seconds_per_token=0.002, answer="x" * 8, fields=settling(2, 2)
    )
    reading = await begin(session)
    while session.thinking_tokens < 3:
        await asyncio.sleep(0.001)
    session.answer_now()
    await reading
    assert finished(session).stop.cause is Cause.CLIENT
    assert num_engine_requests(session) == 0


@pytest.mark.parametrize("every_tokens", [1, 3])
async def test_forks_share_the_budget_with_nobody(open_session: Any, every_tokens: int) -> None:
    session = await open_session(tokens=12, never_end=True, settle_after=99, fields=settling(5, every_tokens))
    await listen(session)
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens) == (Cause.BUDGET, 12)


async def test_answers_that_were_asked_for_go_before_probes(open_session: Any) -> None:
    session = await open_session(
        tokens=60, never_end=True, seconds_per_token=0.002, settle_after=999, max_early_answers=2,
        fields={"budgets": (20,)} | settling(9, 1),
    )  # fmt: skip
    said = await listen(session)
    at = [isinstance(e, events.AnswerDone) and e.at_tokens == 20 for e in said].index(True)
    thought = [e.total_tokens for e in said[:at] if isinstance(e, events.ThinkingDelta)]
    assert thought[-1] < 50


async def test_a_probe_for_each_token_costs_no_more_than_its_seat(open_session: Any) -> None:
    session = await open_session(
        tokens=400,
        never_end=True,
        settle_after=999,
        first_token_s=0.2,
        max_early_answers=2,
        fields=settling(9, 1),
    )
    session.runtime.engine._script = session.runtime.engine._script.model_copy(update={"first_token_s": 0.0})
    reading = await begin(session)
    session.runtime.engine._script = session.runtime.engine._script.model_copy(update={"first_token_s": 5.0})
    while session.thinking_tokens < 390 and not reading.done():
        await asyncio.sleep(0)
    assert len(session._early._probes) <= 2
    session.cancel()
    await reading
    assert num_engine_requests(session) == 0


async def test_a_fork_that_fails_costs_only_itself(open_session: Any) -> None:
    session = await open_session(
        tokens=40, never_end=True, seconds_per_token=0.002, fields={"budgets": (4, 20)}
    )
    generate = session.runtime.engine.generate

    async def fails_once(request: Any) -> Any:
        if request.id.endswith("answer-0-0"):
            raise EngineFailed("not this one")
        async for delta in generate(request):
            yield delta

    session.runtime.engine.generate = fails_once
    said = await listen(session)
    assert list(provisional(said)) == [20]
    assert finished(session).answer == "42"


async def test_where_the_load_cuts_is_no_provisional_answer(open_session: Any) -> None:
    session = await open_session(
        tokens=40, never_end=True, fields={"budgets": (8, 10)}, lease=TestLease(limit=10)
    )
    said = await listen(session)
    assert finished(session).stop.cause is Cause.LOAD
    assert [(a.at_tokens, a.provisional) for a in answers(said)] == [(8, True), (10, False)]
