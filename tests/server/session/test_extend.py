"""Thinking that is let go on: for longer than it was to, and from where another request stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anytime_server.errors import AlreadyAnswering
from anytime_server.reasoning import Cause
from anytime_server.session import Session, events

from .conftest import begin, closes_slowly, finished, listen, thinking_text


async def until(session: Session, tokens: int) -> None:
    while session.thinking_tokens < tokens:
        await asyncio.sleep(0.001)


async def test_extend_moves_the_budget_while_it_thinks(open_session: Any) -> None:
    session = await open_session(tokens=20, never_end=True, seconds_per_token=0.002)
    reading = await begin(session)
    await until(session, 3)
    assert session.extend(15) == 35
    said = await reading
    stop = finished(session).stop
    assert (stop.cause, stop.budget_tokens, stop.thinking_tokens) == (Cause.BUDGET, 35, 35)
    assert len(thinking_text(said)) == 35


async def test_extend_in_the_moment_in_which_the_budget_is_used_up(open_session: Any) -> None:
    session = await open_session(
        tokens=5, never_end=True, settle_after=99, seconds_per_token=0.005, fields={"budgets": (5, 7)}
    )
    closing, _ = closes_slowly(session)
    reading = await begin(session)
    await closing.wait()
    assert session.thinking_tokens == 5
    assert session.extend(4) == 9
    said = await reading
    assert finished(session).stop.thinking_tokens == 9
    found = [e.at_tokens for e in said if isinstance(e, events.AnswerDone) and e.provisional]
    assert found == [5, 7]  # what was the last budget is one on the way now


async def test_extend_keeps_within_the_window(open_session: Any) -> None:
    session = await open_session(tokens=20, never_end=True, seconds_per_token=0.001, most_tokens=30)
    reading = await begin(session)
    assert session.extend(1000) == 30
    await reading
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens) == (Cause.CONTEXT, 30)


async def test_extend_before_anything(open_session: Any) -> None:
    session = await open_session(tokens=5, never_end=True)
    assert session.extend(5) == 10
    await listen(session)
    assert finished(session).stop.thinking_tokens == 10


async def test_extend_comes_too_late(open_session: Any) -> None:
    session = await open_session(tokens=5, never_end=True, seconds_per_token=0.005)
    reading = await begin(session)
    while session.phase != "answering":
        await asyncio.sleep(0.001)
    with pytest.raises(AlreadyAnswering):
        session.extend(5)
    await reading
    with pytest.raises(AlreadyAnswering):
        session.extend(5)


@pytest.mark.parametrize("control", ["extend", "answer_now"])
async def test_controls_once_the_model_has_ended_its_thinking(open_session: Any, control: str) -> None:
    session = await open_session(tokens=50, thinking_tokens=5, seconds_per_token=0.002)
    closing, _ = closes_slowly(session)
    reading = await begin(session)
    await closing.wait()
    with pytest.raises(AlreadyAnswering):
        session.extend(5) if control == "extend" else session.answer_now()
    await reading
    assert finished(session).stop.cause is Cause.NATURAL


async def test_extend_after_answer_now(open_session: Any) -> None:
    session = await open_session(tokens=50, never_end=True, seconds_per_token=0.005)
    reading = await begin(session)
    session.answer_now()
    with pytest.raises(AlreadyAnswering):
        session.extend(5)
    await reading


async def test_carried_thinking_is_thought_on_and_closed_as_thinking(open_session: Any) -> None:
    session = await open_session(
        tokens=5, never_end=True, settle_after=99, fields={"carried_ids": (40, 41, 42)}
    )
    await listen(session)
    done = finished(session)
    assert (done.stop.thinking_tokens, done.usage.thinking_tokens) == (5, 5)
    assert done.answer == "8"  # 3 carried and 5 new ones stand before the answer
    assert done.usage.prompt_tokens == 7 + 3
    at_once = await open_session(tokens=0, settle_after=99, fields={"carried_ids": (40, 41, 42)})
    await listen(at_once)
    assert (finished(at_once).answer, finished(at_once).usage.inserted_tokens) == ("3", 12)
