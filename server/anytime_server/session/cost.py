"""The most that a request may cost its API key."""

from __future__ import annotations

from anytime_server.auth import Cost
from anytime_server.session.answer import ATTEMPTS
from anytime_server.session.request import CompiledRequest


def most_cost(request: CompiledRequest, budget_tokens: int) -> Cost:
    """The most that a request may cost with this budget, in sampled tokens.

    It has one early answer at each of its budgets and probes below the budget, and a final answer. After an
    answer that uses all of its tokens and is blank, each further attempt samples one token.
    """
    every = budget_tokens if request.stop_when is None else request.stop_when.every_tokens
    probes_at = range(every, budget_tokens, max(1, every))
    others_at = [at for at in request.budgets if at < budget_tokens and at not in probes_at]
    # The limit of an answer is linear in the thinking before it, so its average is that of the ends.
    probe_tokens = 0
    if probes_at:
        ends = _answer_tokens(request, probes_at[0]) + _answer_tokens(request, probes_at[-1])
        probe_tokens = -(-len(probes_at) * ends // 2)
    tokens = budget_tokens + _answer_tokens(request, budget_tokens) + probe_tokens
    return Cost(
        thinking_tokens=budget_tokens, tokens=tokens + sum(_answer_tokens(request, at) for at in others_at)
    )


def _answer_tokens(request: CompiledRequest, at_tokens: int) -> int:
    return max(1, request.limits.answer_limit(at_tokens)) + ATTEMPTS - 1
