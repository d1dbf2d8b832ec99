"""How long a model may think and answer: what was requested, held against the window."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anytime_server.errors import InvalidRequest
from anytime_server.reasoning.format import ReasoningFormat
from anytime_server.reasoning.truncation import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimits:
    """The limits that apply to one request."""

    budget_tokens: int
    """The most thinking tokens that may be sampled; 0 is allowed."""
    max_budget_tokens: int
    """The most that the budget can be raised to: all that fits beside the prompt, less the answer's room."""
    answer_tokens: int
    """Tokens that are kept for the answer; without `total_tokens`, the most that it may have."""
    total_tokens: int | None = None
    """The most tokens of thinking and answer together; None where each has its own limit."""
    deadline_s: float | None
    """Seconds from the request's arrival by which the last answer token is due."""
    cause: Cause
    """Cause of the truncation when the budget is used up: `context` where the window set the number."""

    def without_thinking(self) -> TokenLimits:
        """The same for a model that does not think, or not in this conversation."""
        cause = Cause.BUDGET if self.budget_tokens == 0 else Cause.NATURAL
        return replace(self, budget_tokens=0, max_budget_tokens=0, cause=cause)

    def answer_limit(self, thinking_tokens: int) -> int:
        """The most tokens of an answer after `thinking_tokens` of thinking; at least `answer_tokens`."""
        return self.answer_tokens if self.total_tokens is None else self.total_tokens - thinking_tokens


def resolve_limits(
    *,
    budget_tokens: int | None,
    total_tokens: int | None = None,
    deadline_s: float | None,
    window_tokens: int,
    prompt_tokens: int,
    answer_tokens: int,
    reasoning: ReasoningFormat,
) -> TokenLimits:
    """Hold a request against the window, with the answer's room kept from the start.

    A budget that does not fit beside this prompt is lowered to what does (and the truncation is
    then by `context`); a budget over the whole window is refused. `total_tokens` sets or lowers
    it, too, and the truncation is still by `budget`: that number is the client's.

    Args:
        budget_tokens: budget requested; None for all that fits.
        total_tokens: the most tokens of thinking and answer together; None for no such limit.
        window_tokens: the model's context length.
        prompt_tokens: length of the prompt with thinking open.
        answer_tokens: the most tokens the answer may have; with `total_tokens`, what of them is
            kept for it.

    Raises:
        InvalidRequest: naming `budget`, `total_tokens`, `answer.max_tokens` or `messages`.
    """
    require_within_window(budget_tokens=budget_tokens, total_tokens=total_tokens, window_tokens=window_tokens)
    if answer_tokens + reasoning.max_inserted_tokens >= window_tokens:
        raise InvalidRequest(
            f"an answer of {answer_tokens} tokens leaves no room for a prompt "
            f"in the model's window of {window_tokens}",
            field="answer.max_tokens",
        )
    if total_tokens is not None:
        answer_tokens = min(answer_tokens, total_tokens)
        most_thinking = total_tokens - answer_tokens
        budget_tokens = most_thinking if budget_tokens is None else min(budget_tokens, most_thinking)
    room = window_tokens - prompt_tokens - reasoning.max_inserted_tokens - answer_tokens
    if room < 0:
        raise InvalidRequest(
            f"the prompt has {prompt_tokens} tokens; with the answer's {answer_tokens} and "
            f"{reasoning.max_inserted_tokens} inserted it is {-room} over the model's "
            f"window of {window_tokens}",
            field="messages" if prompt_tokens >= answer_tokens else "answer.max_tokens",
        )
    if budget_tokens is None or budget_tokens > room:
        budget_tokens, cause = room, Cause.CONTEXT
    else:
        cause = Cause.BUDGET
    return TokenLimits(
        budget_tokens=budget_tokens,
        max_budget_tokens=room if total_tokens is None else min(room, total_tokens - answer_tokens),
        answer_tokens=answer_tokens,
        total_tokens=None if total_tokens is None else min(total_tokens, room + answer_tokens),
        deadline_s=deadline_s,
        cause=cause,
    )


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
