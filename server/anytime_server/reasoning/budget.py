"""How long a model may think and answer: what was requested, held against the window."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anytime_server.errors import ContextOverflow, InvalidRequest
from anytime_server.reasoning.format import ReasoningFormat
from anytime_server.reasoning.truncation import Cause

ANSWER_RESERVE = 16
"""Tokens that even an explicit budget leaves for the answer: enough for a short one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimits:
    """The limits that apply to one request."""

    budget_tokens: int
    """The most thinking tokens that may be sampled; 0 is allowed."""
    grace_tokens: int = 0
    """The most tokens over the budget that may be sampled, to the end of a sentence."""
    max_budget_tokens: int
    """The most that the budget can be raised to: all that fits beside the prompt and the answer's reserve, or
    the server's maximum."""
    max_budget_cause: Cause = Cause.CONTEXT
    """Cause of the truncation when a budget that was raised to the most is used up."""
    answer_tokens: int
    """Tokens that an answer is expected to have, for planning. The final answer may have more, early answers
    may not."""
    max_answer_tokens: int | None = None
    """The most tokens of an answer; None for all that the window leaves."""
    total_tokens: int | None = None
    """The most tokens of thinking and answer together; None where each has its own limit."""
    room_tokens: int
    """Tokens of thinking and answer together that fit beside the prompt and what is inserted."""
    deadline_s: float | None
    """Seconds from the request's arrival by which the last answer token is due."""
    cause: Cause
    """Cause of the truncation when the budget is used up: `context` where the window set the number."""

    @property
    def most_thinking_tokens(self) -> int:
        """The most thinking tokens that may be sampled, those of the grace included."""
        return self.budget_tokens + self.grace_tokens

    def without_thinking(self, *, has_begun: bool = False) -> TokenLimits:
        """The same for a model that does not think, or not in this conversation.

        Args:
            has_begun: whether that is because the prompt ends within the answer, whatever the budget.
        """
        cause = Cause.BUDGET if self.budget_tokens == 0 and not has_begun else Cause.NATURAL
        return replace(self, budget_tokens=0, grace_tokens=0, max_budget_tokens=0, cause=cause)

    def answer_limit(self, thinking_tokens: int) -> int:
        """The most tokens of an answer after `thinking_tokens` of thinking."""
        together = self.room_tokens if self.total_tokens is None else min(self.room_tokens, self.total_tokens)
        left = together - thinking_tokens
        return left if self.max_answer_tokens is None else min(left, self.max_answer_tokens)

    def early_answer_limit(self, thinking_tokens: int) -> int:
        """The same for an early answer, of which there can be many."""
        return min(self.answer_tokens, self.answer_limit(thinking_tokens))


def resolve_limits(
    *,
    budget_tokens: int | None,
    total_tokens: int | None = None,
    deadline_s: float | None,
    window_tokens: int,
    prompt_tokens: int,
    answer_tokens: int,
    max_answer_tokens: int | None = None,
    answer_cap_tokens: int | None = None,
    reserve_tokens: int = ANSWER_RESERVE,
    lowers_budget: bool = False,
    grace_tokens: int = 0,
    max_budget_tokens: int | None = None,
    inserted_tokens: int | None = None,
    reasoning: ReasoningFormat,
) -> TokenLimits:
    """Hold a request against the window, with the answer's room kept from the start.

    Without a budget, the thinking may have all but `answer_tokens`, an estimate that takes no more than half
    of `total_tokens`, rounded up, or the reserve if that is more. A budget leaves the answer at least the
    reserve. A budget that does not fit beside this prompt is lowered, and the truncation is then by
    `context`; a budget over the whole window is refused. Where `total_tokens` leaves less, it sets the
    budget, and the truncation is still by `budget`: that number is the client's. An explicit budget that
    `total_tokens` would lower has been refused before.

    Args:
        budget_tokens: budget requested; None for all that fits.
        total_tokens: the most tokens of thinking and answer together; None for no such limit.
        window_tokens: the model's context length.
        prompt_tokens: length of the prompt with thinking open.
        answer_tokens: tokens that the answer is expected to have.
        max_answer_tokens: the most that the client lets it have, for all of which room is kept; None for no
            such limit.
        answer_cap_tokens: the most that the server lets it have, for which no room is kept.
        reserve_tokens: what a budget leaves for the answer in any case, if more is expected.
        lowers_budget: whether the budget leaves the answer all that it is expected to have.
        grace_tokens: thinking tokens over the budget to the end of a sentence; fewer where they do not fit.
        max_budget_tokens: the most that the server lets the budget and the grace be raised to.
        inserted_tokens: the most that may be inserted before the answer; by default that of `reasoning`.

    Raises:
        ContextOverflow: the prompt and the least that is kept for the answer are over the window.
        InvalidRequest: naming `budget`, `total_tokens`, `answer.max_tokens`, `answer.min_tokens` or
            `messages`.
    """
    require_within_window(budget_tokens=budget_tokens, total_tokens=total_tokens, window_tokens=window_tokens)
    if answer_cap_tokens is not None:
        answer_tokens = min(answer_tokens, answer_cap_tokens)
        reserve_tokens = min(reserve_tokens, answer_cap_tokens)
    if inserted_tokens is None:
        inserted_tokens = reasoning.max_inserted_tokens
    if max_answer_tokens is not None:
        answer_tokens = reserve_tokens = max_answer_tokens
        if answer_tokens + inserted_tokens >= window_tokens:
            raise InvalidRequest(
                f"an answer of {answer_tokens} tokens leaves no room for a prompt "
                f"in the model's window of {window_tokens}",
                field="answer.max_tokens",
            )
    keeps_all = budget_tokens is None or lowers_budget
    kept_tokens = answer_tokens if keeps_all else min(answer_tokens, reserve_tokens)
    if total_tokens is not None:
        if keeps_all and max_answer_tokens is None:
            half = (total_tokens + 1) // 2
            answer_tokens = kept_tokens = min(kept_tokens, max(half, reserve_tokens))
        kept_tokens = min(kept_tokens, total_tokens)
        most_thinking = total_tokens - kept_tokens
        budget_tokens = most_thinking if budget_tokens is None else min(budget_tokens, most_thinking)
    room_tokens = window_tokens - prompt_tokens - inserted_tokens
    least_tokens = min(kept_tokens, reserve_tokens)
    if room_tokens < least_tokens:
        raise ContextOverflow(
            f"the prompt has {prompt_tokens} tokens; with the answer's {least_tokens} and "
            f"{inserted_tokens} inserted it is {least_tokens - room_tokens} over the model's "
            f"window of {window_tokens}",
            window_tokens=window_tokens,
            prompt_tokens=prompt_tokens,
            answer_tokens=least_tokens + inserted_tokens,
            field=_field_over_window(prompt_tokens, least_tokens, max_answer_tokens),
        )
    most_thinking = max(0, room_tokens - kept_tokens)
    if budget_tokens is None or budget_tokens > most_thinking:
        budget_tokens, cause = most_thinking, Cause.CONTEXT
    else:
        cause = Cause.BUDGET
    most_tokens = room_tokens if total_tokens is None else min(room_tokens, total_tokens)
    grace_tokens = 0 if budget_tokens == 0 else min(grace_tokens, most_tokens - kept_tokens - budget_tokens)
    raised_to, max_cause = most_tokens - least_tokens, Cause.CONTEXT
    if total_tokens is not None:
        max_cause = Cause.BUDGET
    if max_budget_tokens is not None and max_budget_tokens < raised_to:
        raised_to, max_cause = max_budget_tokens, Cause.BUDGET
    return TokenLimits(
        budget_tokens=budget_tokens,
        grace_tokens=grace_tokens,
        max_budget_tokens=max(budget_tokens, raised_to - grace_tokens),
        max_budget_cause=max_cause,
        answer_tokens=min(answer_tokens, most_tokens),
        max_answer_tokens=_least(max_answer_tokens, answer_cap_tokens),
        total_tokens=total_tokens,
        room_tokens=room_tokens,
        deadline_s=deadline_s,
        cause=cause,
    )


def _least(*limits: int | None) -> int | None:
    """The smallest limit; None where there is none."""
    return min((limit for limit in limits if limit is not None), default=None)


def _field_over_window(prompt_tokens: int, least_tokens: int, max_answer_tokens: int | None) -> str:
    """The larger of the prompt and the answer that the client asks for."""
    if prompt_tokens >= least_tokens:
        return "messages"
    if max_answer_tokens is not None:
        return "answer.max_tokens"
    return "answer.min_tokens" if least_tokens > ANSWER_RESERVE else "messages"


def usual_answer_tokens(answer_tokens: int, *, window_tokens: int) -> int:
    """Tokens of a usual answer: the manifest's number, within a quarter of the window."""
    return max(1, min(answer_tokens, window_tokens // 4))


def require_within_window(*, budget_tokens: int | None, total_tokens: int | None, window_tokens: int) -> None:
    """Pass if neither number is over the whole window.

    Raises:
        InvalidRequest: naming `total_tokens` or `budget`.
    """
    for field, what, tokens in (
        ("total_tokens", "a limit", total_tokens),
        ("budget", "a budget", budget_tokens),
    ):
        if tokens is not None and tokens > window_tokens:
            raise InvalidRequest(
                f"{what} of {tokens} tokens is more than the model's window of {window_tokens}", field=field
            )
