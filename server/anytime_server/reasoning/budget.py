"""How long a model may think: what was asked for, held against the window."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.errors import InvalidRequest
from anytime_server.reasoning.cut import Cause
from anytime_server.reasoning.format import ReasoningFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What applies to one request."""

    tokens: int
    """The most thinking tokens that may be sampled; 0 is allowed."""
    deadline_s: float | None
    """Seconds from the request's arrival by which the last answer token is due."""
    cause: Cause
    """What using up `tokens` means: `budget`, or `context` where the window set the number."""


def resolve_budget(
    *,
    tokens: int | None,
    deadline_s: float | None,
    window_tokens: int,
    prompt_tokens: int,
    answer_tokens: int,
    reasoning: ReasoningFormat,
) -> Budget:
    """Hold a request against the window, with the answer's room kept from the start.

    A budget that does not fit beside this prompt is lowered to what does (and the cut is
    then by `context`); one over the whole window is refused.

    Args:
        tokens: budget asked for; None for all that fits.
        window_tokens: the model's context length.
        prompt_tokens: length of the prompt with thinking open.
        answer_tokens: the most tokens the answer may have.

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
    room = window_tokens - prompt_tokens - reasoning.max_inserted_tokens - answer_tokens
    if room < 0:
        raise InvalidRequest(
            f"the prompt has {prompt_tokens} tokens; with the answer's {answer_tokens} and "
            f"{reasoning.max_inserted_tokens} inserted it is {-room} over the model's "
            f"window of {window_tokens}",
            field="messages",
        )
    if tokens is None or tokens > room:
        return Budget(tokens=room, deadline_s=deadline_s, cause=Cause.CONTEXT)
    return Budget(tokens=tokens, deadline_s=deadline_s, cause=Cause.BUDGET)
