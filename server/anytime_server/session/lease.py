"""The scheduler's grant to a session: engine slots, and limits that follow the load."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from enum import IntEnum


class SlotKind(IntEnum):
    """Purpose of an engine slot; lower values are served first."""

    LATE_ANSWER = 0
    """An answer after thinking that was truncated while it waited for a slot."""
    ANSWER = 1
    """An answer without thinking."""
    THINKING = 2
    """Thinking, the answer after it, and early answers meanwhile."""


class Lease:
    """One session's share of the engine. This one grants everything at once; the scheduler's queues."""

    def slot(self, kind: SlotKind) -> AbstractAsyncContextManager[None]:
        """Holds what the session needs to run in the engine; entering may wait."""
        return nullcontext()

    def thinking_limit(self) -> int | None:
        """The most thinking tokens that the load permits at present; None for no limit."""
        return None

    def answers_ahead(self) -> float:
        """Waiting sessions that may answer before this one, per engine slot."""
        return 0.0

    def delta_interval_s(self) -> float:
        """Seconds between batches of deltas: longer with many streams, so that each costs less."""
        return 0.0

    def release(self) -> None:
        """Give everything back. Called once, when the engine is rid of the session, before its last event."""
