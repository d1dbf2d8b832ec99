"""Times at which a session reached each stage: the source of metrics, logs and traces at its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Timeline:
    """`time.monotonic()` of each stage in order; None for stages that were not reached."""

    arrived_at: float
    """The request's arrival."""
    opened_at: float
    """End of compilation; the session waits for a slot."""
    slot_at: float | None = None
    """The slot was granted."""
    first_token_at: float | None = None
    """First token, of thinking or answer."""
    stopped_at: float | None = None
    """End of the thinking."""
    answer_at: float | None = None
    """First token of the answer."""
    ended_at: float | None = None
    """End of the session, whatever ended it."""

    @property
    def held_s(self) -> float | None:
        """Seconds for which it held its slots; None where it never had any, or still has."""
        if self.slot_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.slot_at
