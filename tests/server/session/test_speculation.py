"""Several tokens in one step of the engine, as with speculative decoding: every limit stays exact."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest
from anytime_server.reasoning import Cause
from anytime_server.session import AnswerOptions, Session, events
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model

from .conftest import FakeLease, finished, run_session, thinking_text

STEPS = [2, 7, 1000]


def deliver(session: Session, *token_ids: int, finish_reason: Any = None) -> None:
    """Have the engine deliver these tokens as the first step of the thinking, untrimmed, and then end it."""
    generate = session.runtime.engine.generate

    async def first_step(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        if "thinking" not in request.id:
            async for delta in generate(request):
                yield delta
            return
        yield Delta(token_ids=token_ids, logprobs=(), cached_tokens=0, finish_reason=finish_reason)

    session.runtime.engine.generate = first_step  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("tokens_per_step", STEPS)
@pytest.mark.parametrize("budget", [1, 2, 7, 50])
async def test_budget_is_exact(open_session: Any, budget: int, tokens_per_step: int) -> None:
    session = await open_session(budget_tokens=budget, never_end=True, tokens_per_step=tokens_per_step)
    emitted = await run_session(session)
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens) == (Cause.BUDGET, budget)
    assert len(thinking_text(emitted)) == budget  # one byte a token in this tokenizer


@pytest.mark.parametrize("tokens_per_step", STEPS)
async def test_natural_end_is_the_same(open_session: Any, tokens_per_step: int) -> None:
    session = await open_session(budget_tokens=50, thinking_tokens=10, tokens_per_step=tokens_per_step)
    emitted = await run_session(session)
    assert (finished(session).stop.cause, finished(session).stop.thinking_tokens) == (Cause.NATURAL, 10)
    assert len(thinking_text(emitted)) == 9


@pytest.mark.parametrize("tokens_per_step", STEPS)
async def test_early_answers_are_at_their_budgets(open_session: Any, tokens_per_step: int) -> None:
    session = await open_session(
        budget_tokens=30,
        never_end=True,
        settle_after=100,
        fields={"budgets": (0, 1, 7, 20)},
        tokens_per_step=tokens_per_step,
    )
    emitted = await run_session(session)
    early = [event for event in emitted if isinstance(event, events.AnswerDone) and event.provisional]
    assert {answer.at_tokens: answer.text for answer in early} == {0: "0", 1: "1", 7: "7", 20: "20"}
    assert finished(session).answer == "30"


@pytest.mark.parametrize("tokens_per_step", STEPS)
async def test_limit_of_load_shedding_is_exact(open_session: Any, tokens_per_step: int) -> None:
    session = await open_session(
        budget_tokens=40, never_end=True, lease=FakeLease(limit=10), tokens_per_step=tokens_per_step
    )
    emitted = await run_session(session)
    stop = finished(session).stop
    assert (stop.cause, stop.thinking_tokens, len(thinking_text(emitted))) == (Cause.LOAD, 10, 10)


@pytest.mark.parametrize("tokens_per_step", [1, 3, 8])
async def test_deadline_is_kept(open_session: Any, tokens_per_step: int) -> None:
    latency = LatencyEstimator()
    latency.record_switch(seconds=0.05)
    latency.record_answer(answer_tokens=3)
    latency.record_decoding(num_tokens=4, seconds=0.2)
    session = await open_session(
        budget_tokens=400,
        deadline_s=1.0,
        never_end=True,
        seconds_per_token=0.05,
        latency=latency,
        tokens_per_step=tokens_per_step,
    )
    await run_session(session)
    done = finished(session)
    assert (done.stop.cause, done.answer) == (Cause.DEADLINE, "42")
    assert done.stop.thinking_tokens % tokens_per_step == 0
    assert done.timing.total_s < 1.0


async def test_tokens_after_a_stop_token_are_dropped(open_session: Any, tiny_model: Model) -> None:
    [end] = tiny_model.reasoning.think_end_ids
    session = await open_session(budget_tokens=50)
    deliver(session, 20, 21, end, 22, 23)
    emitted = await run_session(session)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens) == (Cause.NATURAL, 3)
    assert len(thinking_text(emitted)) == 2


@pytest.mark.parametrize(
    ("budget", "limit", "cause"), [(2, None, Cause.BUDGET), (9, 2, Cause.LOAD), (3, 2, Cause.LOAD)]
)
async def test_tokens_over_a_limit_are_dropped_and_so_is_the_end(
    open_session: Any, tiny_model: Model, budget: int, limit: int | None, cause: Cause
) -> None:
    session = await open_session(budget_tokens=budget, lease=FakeLease(limit=limit))
    deliver(session, 20, 21, *tiny_model.reasoning.think_end_ids, finish_reason="stop")
    emitted = await run_session(session)
    done = finished(session)
    assert (done.stop.cause, done.stop.thinking_tokens, len(thinking_text(emitted))) == (cause, 2, 2)


@pytest.mark.parametrize("tokens_per_step", STEPS)
async def test_answer_ends_at_a_stop_string(open_session: Any, tokens_per_step: int) -> None:
    session = await open_session(
        budget_tokens=3,
        never_end=True,
        answer="ab;cd",
        answer_options=AnswerOptions(stop=(";",), top_logprobs=0),
        tokens_per_step=tokens_per_step,
    )
    emitted = await run_session(session)
    done = finished(session)
    assert (done.answer, done.usage.answer_tokens) == ("ab", 3)
    reported = [token for event in emitted if isinstance(event, events.AnswerDelta) for token in event.tokens]
    assert "".join(token.text for token in reported) == "ab;"


@pytest.mark.parametrize("tokens_per_step", STEPS)
async def test_answer_limit_is_exact(open_session: Any, tokens_per_step: int) -> None:
    session = await open_session(
        budget_tokens=3, never_end=True, answer="forty-two", tokens_per_step=tokens_per_step
    )
    await run_session(session)
    assert (finished(session).answer, finished(session).usage.answer_tokens) == ("forty-tw", 8)
