"""How long a model may think: what was asked for, held against the window."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.errors import InvalidRequest
from anytime_server.reasoning.format import ReasoningFormat
from anytime_server.reasoning.truncation import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What applies to one request."""

    tokens: int
    """The most thinking tokens that may be sampled; 0 is allowed."""
    answer_tokens: int
    """Tokens that are kept for the answer; without `total_tokens`, the most that it may have."""
    total_tokens: int | None = None
    """The most tokens of thinking and answer together; None where each has its own limit."""
    deadline_s: float | None
    """Seconds from the request's arrival by which the last answer token is due."""
    cause: Cause
    """What using up `tokens` means: `budget`, or `context` where the window set the number."""
    most_tokens: int
    """What `tokens` can be extended to: all that fits beside the prompt, with the answer's room kept."""

    def answer_limit(self, thinking_tokens: int) -> int:
        """The most tokens of an answer after `thinking_tokens` of thinking; at least `answer_tokens`."""
        return self.answer_tokens if self.total_tokens is None else self.total_tokens - thinking_tokens


def resolve_budget(
    *,
    tokens: int | None,
    total_tokens: int | None = None,
    deadline_s: float | None,
    window_tokens: int,
    prompt_tokens: int,
    answer_tokens: int,
    reasoning: ReasoningFormat,
) -> Budget:
    """Hold a request against the window, with the answer's room kept from the start.

    A budget that does not fit beside this prompt is lowered to what does (and the cut is
    then by `context`); one over the whole window is refused. `total_tokens` sets or lowers
    it, too, and the cut is still by `budget`: that number is the client's.

    Args:
        tokens: budget asked for; None for all that fits.
        total_tokens: the most tokens of thinking and answer together; None for no such limit.
        window_tokens: the model's context length.
        prompt_tokens: length of the prompt with thinking open.
        answer_tokens: the most tokens the answer may have; with `total_tokens`, what of them is
            kept for it.

    Raises:
        InvalidRequest: naming `budget`, `answer.max_tokens` or `messages`.
    """
    if tokens is not None and tokens > window_tokens:
        raise InvalidRequest(
            f"budget of {tokens} tokens is more than the model's window of {window_tokens}", field="budget"
        )
    if answer_tokens + reasoning.max_inserted_tokens >= window_tokens:
        raise InvalidRequest(
            f"an answer of {answer_tokens} tokens leaves no room for a prompt "
            f"in the model's window of {window_tokens}",
            field="answer.max_tokens",
        )
    if total_tokens is not None:
        answer_tokens = min(answer_tokens, total_tokens)
        most_thinking = total_tokens - answer_tokens
        tokens = most_thinking if tokens is None else min(tokens, most_thinking)
    room = window_tokens - prompt_tokens - reasoning.max_inserted_tokens - answer_tokens
    if room < 0:
        raise InvalidRequest(
            f"the prompt has {prompt_tokens} tokens; with the answer's {answer_tokens} and "
            f"{reasoning.max_inserted_tokens} inserted it is {-room} over the model's "
            f"window of {window_tokens}",
            field="messages" if prompt_tokens >= answer_tokens else "answer.max_tokens",
        )
    most_tokens = room if total_tokens is None else min(room, total_tokens - answer_tokens)
    if tokens is None or tokens > room:
        tokens, cause = room, Cause.CONTEXT
    else:
        cause = Cause.BUDGET
    return Budget(
        tokens=tokens,
        answer_tokens=answer_tokens,
        total_tokens=None if total_tokens is None else min(total_tokens, room + answer_tokens),
        deadline_s=deadline_s,
        cause=cause,
        most_tokens=most_tokens,
    )
