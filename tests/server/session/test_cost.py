"""The most that a request may cost: by hand, and against the sum over all its answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from anytime_server.reasoning import Cause, SamplingOptions, TokenLimits
from anytime_server.session import AnswerOptions, CompiledRequest, most_cost
from anytime_server.text.prompt import Prompt
from anytime_server.types import RequestContext, StopWhen
from hypothesis import given
from hypothesis import strategies as st

from .conftest import finished, run_session

BLANK_TRIES = 3
"""Each samples one token after an answer that has used its limit."""


def compiled(*, total_tokens: int | None = None, **fields: Any) -> CompiledRequest:
    limits = TokenLimits(
        budget_tokens=100,
        max_budget_tokens=400,
        answer_tokens=8,
        max_answer_tokens=None if total_tokens else 8,
        total_tokens=total_tokens,
        room_tokens=408,
        deadline_s=None,
        cause=Cause.BUDGET,
    )
    return CompiledRequest(
        id="any-1",
        prompt=Prompt(ids=[1], is_open=True),
        limits=limits,
        thinking=SamplingOptions(),
        answer=AnswerOptions(),
        seed=1,
        context=RequestContext(),
        **fields,
    )


@pytest.mark.parametrize(
    ("budget_tokens", "fields", "tokens"),
    [
        (0, {}, 8 + 3),
        (50, {}, 50 + 8 + 3),
        (50, {"total_tokens": 70}, 70 + 3),
        (50, {"budgets": (0, 20, 50)}, 50 + 3 * (8 + 3)),
        (50, {"stop_when": StopWhen(stable=2, every_tokens=20)}, 50 + 3 * (8 + 3)),
        (50, {"stop_when": StopWhen(stable=2, every_tokens=20), "budgets": (20, 30)}, 50 + 4 * (8 + 3)),
        (50, {"stop_when": StopWhen(stable=2, every_tokens=50)}, 50 + 8 + 3),
        (50, {"total_tokens": 70, "budgets": (20,)}, 70 + 3 + 8 + 3),
    ],
)
def test_most_cost_by_hand(budget_tokens: int, fields: dict[str, Any], tokens: int) -> None:
    cost = most_cost(compiled(**fields), budget_tokens)
    assert (cost.requests, cost.thinking_tokens, cost.tokens) == (1, budget_tokens, tokens)


@given(
    budget_tokens=st.integers(0, 60),
    every=st.none() | st.integers(1, 70),
    budgets=st.sets(st.integers(0, 60), max_size=5),
    total_tokens=st.none() | st.integers(60, 100),
)
def test_most_cost_is_the_sum_of_all_answers(
    budget_tokens: int, every: int | None, budgets: set[int], total_tokens: int | None
) -> None:
    request = compiled(
        budgets=tuple(sorted(budgets)),
        stop_when=None if every is None else StopWhen(stable=2, every_tokens=every),
        total_tokens=total_tokens,
    )
    answered_at = {at for at in budgets | {*range(every or 99, 99, every or 99)} if at < budget_tokens}
    limit = 8 if total_tokens is None else max(1, total_tokens - budget_tokens)
    answers = [limit + BLANK_TRIES]
    answers += [max(1, min(8, (total_tokens or 99) - at)) + BLANK_TRIES for at in answered_at]
    # Probes count as the first of them, the longest.
    assert 0 <= most_cost(request, budget_tokens).tokens - (budget_tokens + sum(answers)) <= 7 * len(answers)


def test_answer_without_a_limit_costs_its_expected_length() -> None:
    request = compiled()
    limits = dataclasses.replace(request.limits, max_answer_tokens=None)
    assert most_cost(dataclasses.replace(request, limits=limits), 50).tokens == 50 + 8 + 3


async def test_answers_of_full_length_cost_no_more_than_most_cost(open_session: Any) -> None:
    fields = {"budgets": (5, 10), "stop_when": StopWhen(stable=9, every_tokens=10)}
    session = await open_session(fields=fields, answer="4" * 50, never_end=True)
    await run_session(session)
    usage, most = finished(session).usage, most_cost(session.request, 50)
    assert (usage.thinking_tokens, usage.answer_tokens, usage.provisional_tokens) == (50, 8, 5 * 8)
    assert session.cost.tokens == 50 + 8 + 5 * 8 == most.tokens - 6 * BLANK_TRIES
