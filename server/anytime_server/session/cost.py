"""Tokens of an API key that are set aside for a request."""

from __future__ import annotations

from anytime_server.auth import Cost
from anytime_server.session.answer import ATTEMPTS
from anytime_server.session.request import CompiledRequest


def most_cost(request: CompiledRequest, budget_tokens: int) -> Cost:
    """The most that a request is expected to cost with this budget, in sampled tokens.

    There is an early answer at each of its budgets and probes below the budget, and a final answer, which
    counts with its expected length if the client gives no limit. After an answer that uses all of its tokens
    and is blank, each further attempt samples one token.
    """
    limits = request.limits
    every = budget_tokens if request.stop_when is None else request.stop_when.every_tokens
    probes_at = range(every, budget_tokens, max(1, every))
    early_at = [at for at in request.budgets if at < budget_tokens and at not in probes_at]
    final_tokens = limits.answer_limit(budget_tokens)
    if limits.total_tokens is None and limits.max_answer_tokens is None:
        final_tokens = min(final_tokens, limits.answer_tokens)
    early_tokens = sum(_with_blank_attempts(limits.early_answer_limit(at)) for at in early_at)
    if probes_at:  # none is longer than the first
        early_tokens += len(probes_at) * _with_blank_attempts(limits.early_answer_limit(probes_at[0]))
    return Cost(
        thinking_tokens=budget_tokens,
        tokens=budget_tokens + _with_blank_attempts(final_tokens) + early_tokens,
    )


def _with_blank_attempts(answer_tokens: int) -> int:
    return max(1, answer_tokens) + ATTEMPTS - 1
