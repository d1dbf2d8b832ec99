"""Thinking that ends at a repetition loop, exactly where the loop is complete."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest
from anytime_server.reasoning import Cause, LoopRule
from anytime_server.session import Session, events

from .conftest import PROMPT_IDS, run_session

RULE = LoopRule(repeats=3, min_tokens=12)
BEFORE, PHRASE = [70, 71, 72, 70, 71], [50, 51, 52, 53, 54]
COMPLETE = len(BEFORE) + 3 * len(PHRASE)


def looping(session: Session, size: int, token_ids: Sequence[int]) -> list[EngineRequest]:
    """Let the session think these tokens, some in each delta; returns its engine requests as they come."""
    generate, found = session.runtime.engine.generate, list[EngineRequest]()

    async def think(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        found.append(request)
        if "thinking" not in request.id:
            async for delta in generate(request):
                yield delta
            return
        sampled = token_ids[: request.sampling.max_tokens]
        for start in range(0, len(sampled), size):
            is_last = start + size >= len(sampled)
            yield Delta(
                token_ids=tuple(sampled[start : start + size]),
                logprobs=(),
                cached_tokens=0,
                finish_reason="length" if is_last else None,
            )

    session.runtime.engine.generate = think  # pyright: ignore[reportAttributeAccessIssue]
    return found


async def done_of(session: Session) -> events.Done:
    done = (await run_session(session))[-1]
    assert isinstance(done, events.Done)
    return done


@pytest.mark.parametrize("size", [1, 4, 7, 100])
async def test_loop_ends_the_thinking_at_the_token_that_completes_it(open_session: Any, size: int) -> None:
    session = await open_session(budget_tokens=90, fields={"stop_loop": RULE, "budgets": (4, COMPLETE + 1)})
    found = looping(session, size, BEFORE + PHRASE * 20)
    emitted = await run_session(session)
    done = emitted[-1]
    assert isinstance(done, events.Done)
    assert done.stop.cause is Cause.LOOP
    assert done.stop.thinking_tokens == COMPLETE
    assert {one.at_tokens for one in emitted if isinstance(one, events.AnswerDone)} == {4, COMPLETE}
    answer = max(found, key=lambda request: len(request.prompt_ids))
    assert answer.prompt_ids[len(PROMPT_IDS) :][:COMPLETE] == BEFORE + PHRASE * 3
    assert answer.prompt_ids[len(PROMPT_IDS) + COMPLETE] != PHRASE[0], "the truncation text follows"


async def test_loop_that_completes_with_the_budget_is_the_cause(open_session: Any) -> None:
    session = await open_session(budget_tokens=COMPLETE, fields={"stop_loop": RULE})
    looping(session, 100, BEFORE + PHRASE * 20)
    assert (await done_of(session)).stop.cause is Cause.LOOP


async def test_without_a_rule_a_loop_goes_on_to_the_budget(open_session: Any) -> None:
    session = await open_session(budget_tokens=90)
    looping(session, 4, BEFORE + PHRASE * 20)
    stop = (await done_of(session)).stop
    assert (stop.cause, stop.thinking_tokens) == (Cause.BUDGET, 90)


async def test_resumed_thinking_completes_the_loop_of_the_earlier(open_session: Any) -> None:
    carried_ids = (*BEFORE, *PHRASE, *PHRASE)
    session = await open_session(budget_tokens=90, fields={"stop_loop": RULE, "carried_ids": carried_ids})
    looping(session, 2, PHRASE * 20)
    stop = (await done_of(session)).stop
    assert (stop.cause, stop.thinking_tokens) == (Cause.LOOP, len(PHRASE))


async def test_resumed_loop_that_is_left_is_none(open_session: Any) -> None:
    carried_ids = (*BEFORE, *PHRASE * 5)
    session = await open_session(budget_tokens=30, fields={"stop_loop": RULE, "carried_ids": carried_ids})
    looping(session, 2, range(30, 60))
    assert (await done_of(session)).stop.cause is Cause.BUDGET
