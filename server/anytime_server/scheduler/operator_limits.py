"""The operator's limits on a request: its defaults where the request says nothing, its maxima in any case.

An explicit value over a maximum is lowered to it and reported, or refused where such fields are refused.
Knows nothing of the window beyond its size, and nothing of quotas: those are the account's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from anytime_server.auth import RequestLimits, combined
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import EffortLevel, effort_budget
from anytime_server.types import GenerateRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorLimits:
    """The limits of a server, of its aliases, and of the API key that a request comes with."""

    server: RequestLimits = field(default_factory=RequestLimits)
    aliases: Mapping[str, RequestLimits] = field(default_factory=dict)
    """By alias; `*` for names that are not listed."""
    efforts: Mapping[EffortLevel, int] = field(default_factory=dict)
    """Thinking tokens of reasoning efforts, over those of the model."""

    def apply(
        self,
        request: GenerateRequest,
        *,
        alias: str | None,
        efforts: Mapping[EffortLevel, int],
        window_tokens: int,
    ) -> GenerateRequest:
        """The request with the operator's defaults, and within the operator's maxima.

        Args:
            alias: the alias that the request comes by; None for the model's own name or an adapter's.
            efforts: the model's thinking tokens of reasoning efforts.

        Raises:
            NotSupported: an explicit value is over a maximum, and such values are refused.
        """
        limits = self._limits(request, alias)
        request = self._with_budget(request, limits, efforts=efforts, window_tokens=window_tokens)
        most = limits.max_budget
        request = replace(request, max_budget_tokens=None if most is None or most >= window_tokens else most)
        if request.budget_share is None:
            request = _within_max_budget(request)
        return _with_answer(_with_deadline(request, limits), limits)

    def _limits(self, request: GenerateRequest, alias: str | None) -> RequestLimits:
        """Those that apply: of the key, the alias and the server."""
        account, layers = request.context.account, list[RequestLimits]()
        if account is not None:
            layers.append(account.limits)
        if alias is not None:
            layers.append(self.aliases[alias])
        return combined([*layers, self.server])

    def _with_budget(
        self,
        request: GenerateRequest,
        limits: RequestLimits,
        *,
        efforts: Mapping[EffortLevel, int],
        window_tokens: int,
    ) -> GenerateRequest:
        """The request with the budget of its effort, or the default budget, if it has no other."""
        if request.has_budget:
            return request
        if request.effort is not None:
            tokens = effort_budget(
                request.effort,
                levels={**efforts, **self.efforts},
                total_tokens=request.total_tokens,
                window_tokens=window_tokens,
            )
        elif limits.default_budget is not None:
            # A default never refuses a request.
            tokens = max(limits.default_budget, request.thinking.min_tokens or 0, *request.budgets[-1:])
        else:
            return request
        return replace(request, budget_tokens=min(tokens, window_tokens), lowers_budget=True)


def with_share(request: GenerateRequest, *, prompt_tokens: int, window_tokens: int) -> GenerateRequest:
    """The request with its share as a budget in tokens; an explicit budget applies where it is smaller.

    Args:
        prompt_tokens: length of the rendered prompt.

    Raises:
        InvalidRequest: the share is of `max_tokens`, of which there are none; names `budget.of`.
        NotSupported: the share is over the operator's maximum, and such values are refused.
    """
    share = request.budget_share
    if share is None:
        return request
    whole = prompt_tokens
    if share.of == "max_tokens":
        given = request.answer_tokens if request.total_tokens is None else request.total_tokens
        if given is None:
            raise InvalidRequest(
                f"{request.name_of('budget.of')}: there is no {request.name_of('answer.max_tokens')} to "
                "take a share of",
                field="budget.of",
            )
        whole = given
    tokens = min(int(share.share * whole), window_tokens)
    if request.budget_tokens is not None:
        tokens = min(tokens, request.budget_tokens)
    return _within_max_budget(replace(request, budget_tokens=tokens))


def _within_max_budget(request: GenerateRequest) -> GenerateRequest:
    """The request with a budget and a grace that are not over the maximum together."""
    most, tokens, grace = request.max_budget_tokens, request.budget_tokens, request.grace_tokens
    if most is None or (tokens is not None and tokens + grace <= most):
        return request
    if request.is_unlimited or not (tokens is None or request.lowers_budget):
        over = "budget" if tokens is None or tokens > most else "budget.grace"
        tokens = most if tokens is None else min(tokens, most)
    else:  # not the client's own number
        over = "budget.grace" if grace > most else None
        tokens = min(most if tokens is None else tokens, max(0, most - grace))
    if over is not None:
        with_grace = ", those of the grace included" if grace else ""
        request.ignore(over, f"the maximum here is {most} thinking tokens{with_grace}")
    return replace(request, budget_tokens=tokens, grace_tokens=min(grace, most - tokens), lowers_budget=True)


def _with_deadline(request: GenerateRequest, limits: RequestLimits) -> GenerateRequest:
    deadline_s, most_ms = request.deadline_s, limits.max_deadline_ms
    if deadline_s is None and limits.default_deadline_ms is not None:
        deadline_s = limits.default_deadline_ms / 1000
    if most_ms is not None and (deadline_s is None or deadline_s > most_ms / 1000):
        if request.deadline_s is not None:
            request.ignore("budget.deadline_ms", f"the maximum here is {most_ms} ms")
        deadline_s = most_ms / 1000
    return replace(request, deadline_s=deadline_s)


def _with_answer(request: GenerateRequest, limits: RequestLimits) -> GenerateRequest:
    most, cap = limits.max_answer_tokens, limits.max_answer_tokens
    has_own = request.answer_tokens is not None or request.total_tokens is not None
    if not has_own and limits.default_answer_tokens is not None:
        default = max(limits.default_answer_tokens, request.answer.min_tokens or 0)
        cap = default if most is None else min(default, most)
    if most is not None and (given := _tokens_left_for_answer(request)) is not None and given > most:
        request.ignore("answer.max_tokens", f"the maximum here is {most} answer tokens")
    own = request.answer_tokens
    return replace(
        request,
        answer_tokens=own if own is None or most is None else min(own, most),
        answer_cap_tokens=cap,
    )


def _tokens_left_for_answer(request: GenerateRequest) -> int | None:
    """The least that the client's limit leaves the answer; None where it has no limit, or thinks without."""
    if request.answer_tokens is not None:
        return request.answer_tokens
    if request.total_tokens is None or request.budget_tokens is None:
        return None
    return request.total_tokens - request.budget_tokens - request.grace_tokens
