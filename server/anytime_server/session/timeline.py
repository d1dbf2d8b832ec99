"""Times at which a session reached each stage: the source of metrics, logs and traces at its end."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.session.events import Timing


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

    def timing(self, *, answer_at: float, last_token_at: float) -> Timing:
        """The timing of a session that went well.

        Args:
            answer_at: first token of the answer.
            last_token_at: its last token.
        """
        assert self.first_token_at is not None
        assert self.stopped_at is not None
        return Timing(
            time_to_first_token_s=self.first_token_at - self.arrived_at,
            cut_to_answer_s=answer_at - self.stopped_at,
            time_to_answer_s=answer_at - self.arrived_at,
            total_s=last_token_at - self.arrived_at,
        )

    @property
    def held_s(self) -> float | None:
        """Seconds for which it held its slots; None where it never had any, or still has."""
        if self.slot_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.slot_at
