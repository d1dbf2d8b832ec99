"""Extended budgets, and thinking that resumes that of an earlier session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anytime_server.errors import AlreadyAnswering
from anytime_server.reasoning import Cause
from anytime_server.session import Session, events

from .conftest import close_slowly, finished, run_session, start_reading, thinking_text


async def wait_for_thinking(session: Session, tokens: int) -> None:
    while session.thinking_tokens < tokens:
        await asyncio.sleep(0.001)


async def test_extend_raises_the_budget_of_thinking_under_way(open_session: Any) -> None:
    session = await open_session(budget_tokens=20, never_end=True, seconds_per_token=0.002)
    reading = await start_reading(session)
    await wait_for_thinking(session, 3)
    assert session.extend(15) == 35
    emitted = await reading
    stop = finished(session).stop
    assert (stop.cause, stop.budget_tokens, stop.thinking_tokens) == (Cause.BUDGET, 35, 35)
    assert len(thinking_text(emitted)) == 35


async def test_extend_resumes_thinking_whose_budget_is_just_used_up(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=5, never_end=True, settle_after=99, seconds_per_token=0.005, fields={"budgets": (5, 7)}
    )
    closing, _ = close_slowly(session)
    reading = await start_reading(session)
    await closing.wait()
    assert session.thinking_tokens == 5
    assert session.extend(4) == 9
    emitted = await reading
    assert finished(session).stop.thinking_tokens == 9
    found = [e.at_tokens for e in emitted if isinstance(e, events.AnswerDone) and e.provisional]
    assert found == [5, 7]  # 5 was the last budget, and is now followed by more thinking


async def test_extend_stays_within_the_window(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=20, never_end=True, seconds_per_token=0.001, max_budget_tokens=30
    )
    reading = await start_reading(session)
    assert session.extend(1000) == 30
    await reading
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens) == (Cause.CONTEXT, 30)


async def test_extend_before_the_start_raises_the_budget(open_session: Any) -> None:
    session = await open_session(budget_tokens=5, never_end=True)
    assert session.extend(5) == 10
    await run_session(session)
    assert finished(session).stop.thinking_tokens == 10


async def test_extend_is_refused_during_and_after_the_answer(open_session: Any) -> None:
    session = await open_session(budget_tokens=5, never_end=True, seconds_per_token=0.005)
    reading = await start_reading(session)
    while session.phase != "answering":
        await asyncio.sleep(0.001)
    with pytest.raises(AlreadyAnswering):
        session.extend(5)
    await reading
    with pytest.raises(AlreadyAnswering):
        session.extend(5)


@pytest.mark.parametrize("control", ["extend", "answer_now"])
async def test_controls_are_refused_once_the_model_has_ended_its_thinking(
    open_session: Any, control: str
) -> None:
    session = await open_session(budget_tokens=50, thinking_tokens=5, seconds_per_token=0.002)
    closing, _ = close_slowly(session)
    reading = await start_reading(session)
    await closing.wait()
    with pytest.raises(AlreadyAnswering):
        session.extend(5) if control == "extend" else session.answer_now()
    await reading
    assert finished(session).stop.cause is Cause.NATURAL


async def test_extend_after_answer_now_is_refused(open_session: Any) -> None:
    session = await open_session(budget_tokens=50, never_end=True, seconds_per_token=0.005)
    reading = await start_reading(session)
    session.answer_now()
    with pytest.raises(AlreadyAnswering):
        session.extend(5)
    await reading


async def test_resumed_thinking_precedes_new_thinking_in_the_answer_prompt(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=5, never_end=True, settle_after=99, fields={"carried_ids": (40, 41, 42)}
    )
    await run_session(session)
    done = finished(session)
    assert (done.stop.thinking_tokens, done.usage.thinking_tokens) == (5, 5)
    assert done.answer == "8"  # 3 carried and 5 new tokens precede the answer
    assert done.usage.prompt_tokens == 7 + 3
    at_once = await open_session(budget_tokens=0, settle_after=99, fields={"carried_ids": (40, 41, 42)})
    await run_session(at_once)
    assert (finished(at_once).answer, finished(at_once).usage.inserted_tokens) == ("3", 12)
