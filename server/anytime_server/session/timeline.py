"""When a session got from one stage to the next: what metrics, logs and traces are made of, at its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Timeline:
    """`time.monotonic()` of each, None where it has not come to that. In this order, where they are there."""

    arrived_at: float
    """The request came in."""
    opened_at: float
    """It was read, found good and put in line."""
    room_at: float | None = None
    """There was room for it in the engine."""
    first_token_at: float | None = None
    """The first token was there, of thinking or answer."""
    cut_at: float | None = None
    """The thinking was over."""
    answer_at: float | None = None
    """The first token of the answer was there."""
    ended_at: float | None = None
    """All was over, whatever the end."""

    @property
    def held_s(self) -> float | None:
        """Seconds for which it had its places; None where it never had any, or still has."""
        if self.room_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.room_at
