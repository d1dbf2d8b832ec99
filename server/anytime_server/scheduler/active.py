"""Sessions under way, with what their API keys have set aside for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from anytime_server.auth import Account, Admission
from anytime_server.errors import UnknownSession
from anytime_server.session import Session

RECENT_SESSIONS = 32
"""Sessions over which it is averaged how long a session holds its slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    session: Session
    admission: Admission | None
    is_observed: bool


class ActiveSessions:
    """Registry of the sessions of one scheduler."""

    def __init__(self) -> None:
        self.observers: list[Callable[[Session], None]] = []
        """Called with each session of a client that has ended: metrics, logs, traces."""
        self.mean_held_s = 0.0
        """Seconds for which recent sessions held their slots, on average; 0 before any has ended."""
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Session]:
        return iter([entry.session for entry in self._entries.values()])

    @property
    def num_waiting(self) -> int:
        """Sessions that wait for a slot."""
        return sum(session.phase == "waiting" for session in self)

    def add(self, session: Session, admission: Admission | None = None, *, is_observed: bool = True) -> None:
        """Register a session that is about to start."""
        self._entries[session.request.id] = _Entry(
            session=session, admission=admission, is_observed=is_observed
        )

    def find(self, session_id: str, account: Account | None) -> tuple[Session, Admission | None]:
        """A session under way that was opened with that account's key.

        Raises:
            UnknownSession: there is none; perhaps it has ended.
        """
        entry = self._entries.get(session_id)
        if entry is None or not entry.session.request.context.is_from(account):
            raise UnknownSession(f"no session {session_id!r} is under way")
        return entry.session, entry.admission

    def end(self, session: Session) -> None:
        """Remove a session that has ended, give back what its key did not use, and notify observers."""
        entry = self._entries.pop(session.request.id)
        if entry.admission is not None:
            entry.admission.end(session.thinking_tokens)
        if not entry.is_observed:
            return
        if (held_s := session.timeline.held_s) is not None:
            self.mean_held_s += (held_s - self.mean_held_s) / (RECENT_SESSIONS if self.mean_held_s else 1)
        for observe in self.observers:
            observe(session)

    async def ended(self) -> None:
        """Wait until all that are under way now have ended."""
        await asyncio.gather(*(session.ended() for session in self))
