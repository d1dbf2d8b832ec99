"""Grace: tokens over the budget to the end of a sentence, and not one more than allowed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anytime_server.engine import Delta, Engine, EngineRequest
from anytime_server.reasoning import Cause
from anytime_server.reasoning.sentence import ends_sentence
from anytime_server.session import Session, events

from .conftest import finished, run_session, start_reading, thinking_text


async def with_grace(open_session: Any, grace_tokens: int, **fields: Any) -> Session:
    """A session that never ends its thinking by itself; every tenth token ends a line."""
    session = await open_session(**{"never_end": True, "line_tokens": 10} | fields)
    limits = dataclasses.replace(session.request.limits, grace_tokens=grace_tokens)
    return Session(dataclasses.replace(session.request, limits=limits), session.runtime)


def record(session: Session) -> list[EngineRequest]:
    """The session's requests to the engine, as they come."""
    engine, found = session.runtime.engine, list[EngineRequest]()
    generate = engine.generate

    def recorded(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        found.append(request)
        return generate(request)

    engine.generate = recorded  # pyright: ignore[reportAttributeAccessIssue]
    return found


@pytest.mark.parametrize("tokens_per_step", [1, 4, 64])
@pytest.mark.parametrize(
    ("budget", "grace", "thought"),
    [
        (14, 0, 14),
        (14, 5, 19),  # no line ends before: exactly the budget and the grace
        (14, 6, 20),
        (14, 32, 20),  # the first end of a line
        (20, 32, 20),  # there already
        (21, 32, 30),
        (0, 32, 0),
    ],
)
async def test_thinking_goes_on_to_the_end_of_a_line(
    open_session: Any, budget: int, grace: int, thought: int, tokens_per_step: int
) -> None:
    session = await with_grace(
        open_session, grace if budget else 0, budget_tokens=budget, tokens_per_step=tokens_per_step
    )
    requests = record(session)
    emitted = await run_session(session)
    assert len(requests) == 1 + (budget > 0)  # the thinking, which nothing interrupts, and the answer
    stop = finished(session).stop
    assert (stop.cause, stop.budget_tokens, stop.thinking_tokens) == (Cause.BUDGET, budget, thought)
    assert len(thinking_text(emitted)) == thought
    [answer] = [event for event in emitted if isinstance(event, events.AnswerDone)]
    assert answer.at_tokens == thought


async def test_model_may_end_its_thinking_within_the_grace(open_session: Any) -> None:
    session = await with_grace(
        open_session, 32, budget_tokens=14, never_end=False, thinking_tokens=17, line_tokens=None
    )
    await run_session(session)
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens) == (Cause.NATURAL, 17)


async def test_early_answers_are_given_within_the_grace(open_session: Any) -> None:
    session = await with_grace(open_session, 32, budget_tokens=14, fields={"budgets": (12, 14, 17)})
    emitted = await run_session(session)
    early = [e.at_tokens for e in emitted if isinstance(e, events.AnswerDone) and e.provisional]
    assert early == [12, 14, 17]


async def test_extended_budget_has_the_same_grace(open_session: Any) -> None:
    session = await with_grace(open_session, 32, budget_tokens=14, seconds_per_token=0.002)
    reading = await start_reading(session)
    assert session.extend(11) == 25
    await reading
    stop = finished(session).stop
    assert (stop.cause, stop.budget_tokens, stop.thinking_tokens) == (Cause.BUDGET, 25, 30)


async def test_started_event_has_the_grace(open_session: Any) -> None:
    session = await with_grace(open_session, 5, budget_tokens=14)
    started = (await run_session(session))[0]
    assert isinstance(started, events.Started)
    assert (started.budget_tokens, started.grace_tokens) == (14, 5)


async def test_thinking_that_begins_again_has_no_grace(open_session: Any) -> None:
    session = await with_grace(
        open_session,
        32,
        budget_tokens=14,
        never_end=False,
        thinking_tokens=9,
        line_tokens=None,
        fault="reopened_thinking",
    )
    await run_session(session)
    assert finished(session).stop.thinking_tokens == 14


async def test_thinking_that_begins_again_stays_within_the_largest_budget(open_session: Any) -> None:
    session = await open_session(
        budget_tokens=14,
        max_budget_tokens=20,
        thinking_tokens=9,
        fault="reopened_thinking",
        seconds_per_token=0.005,
    )
    reading = await start_reading(session)
    while session.thinking_tokens < 10:
        await asyncio.sleep(0.001)
    assert session.extend(100) == 20
    await reading
    assert finished(session).stop.thinking_tokens <= 20


async def test_grace_is_exact_on_vllm(open_session: Any, vllm_engine: Engine) -> None:
    """The random model writes random bytes; some of them end a sentence or a line."""
    ends = set[int]()
    for seed in range(40):
        made = await with_grace(open_session, 20, budget_tokens=5, seed=seed)
        thinking = dataclasses.replace(made.request.thinking, temperature=2.0)
        request = dataclasses.replace(made.request, id=f"grace-{seed}", thinking=thinking)
        session = Session(request, dataclasses.replace(made.runtime, engine=vllm_engine))
        emitted = await run_session(session)
        stop = finished(session).stop
        ends.add(stop.thinking_tokens)
        if stop.cause is Cause.BUDGET and stop.thinking_tokens < 25:
            assert stop.thinking_tokens >= 5
            assert ends_sentence(thinking_text(emitted)[-1:]), thinking_text(emitted)
    assert max(ends) == 25
    assert len(ends) > 2
