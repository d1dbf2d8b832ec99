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
    thinking_temperature: float
    thinking_top_p: float
    answer_temperature: float
    answer_top_p: float
    seed: int | None
    """Makes thinking and answer repeatable."""
    arrived_at: float
    """`time.monotonic()` when the request came in; deadlines count from here."""
