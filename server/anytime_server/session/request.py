"""What a session is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.reasoning import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """A request, resolved: nothing in it can be refused any more."""

    id: str
    prompt_ids: list[int]
    """Conversation with thinking open at its end."""
    budget: Budget
    answer_tokens: int
    """The most tokens of the answer."""
    thinking_temperature: float = 0.6
    thinking_top_p: float = 0.95
    answer_temperature: float = 0.0
    answer_top_p: float = 1.0
    seed: int | None = None
    """Makes thinking and answer repeatable."""
    arrived_at: float
    """`time.monotonic()` when the request came in; deadlines count from here."""
