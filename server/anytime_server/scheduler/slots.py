"""SlotPool in the engine: the next goes to the client that holds the fewest, and there to who asked first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum


class For(IntEnum):
    """What a place is wanted for; the first of these goes first."""

    LATE_ANSWER = 0
    """An answer to thinking that was cut while it waited to begin. Gets any place that there is."""
    ANSWER = 1
    """An answer without thinking. Gets any place, and only spare ones while thinking waits."""
    THINKING = 2
    """Thinking, the answer after it, and answers meanwhile. Gets those that are not spare."""


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """One who waits."""

    client: str
    count: int
    called: asyncio.Future[None]


class SlotPool:
    """So many places; who wants several gets all of them at once, and nobody is let past who is next."""

    def __init__(self, capacity: int, *, num_spare: int = 1) -> None:
        """
        Args:
            capacity: for thinking.
            num_spare: more of them, which are never thought in.
        """
        self.capacity = capacity
        self.num_all = capacity + num_spare
        self._num_spare = num_spare
        self._limits = {For.LATE_ANSWER: self.num_all, For.ANSWER: self.num_all, For.THINKING: capacity}
        self._held = Counter[str]()
        self._num_taken = dict.fromkeys(For, 0)
        self._num_wanted = dict.fromkeys(For, 0)
        self._waiting: dict[For, list[_Turn]] = {kind: [] for kind in For}

    @property
    def num_taken(self) -> int:
        """SlotPool that are held."""
        return sum(self._num_taken.values())

    @property
    def num_wanted(self) -> int:
        """SlotPool that are waited for to think in."""
        return self._num_wanted[For.THINKING]

    @property
    def num_free(self) -> int:
        """SlotPool to think in that nobody holds."""
        return min(self.capacity - self._num_taken[For.THINKING], self.num_all - self.num_taken)

    @asynccontextmanager
    async def hold(
        self, count: int = 1, *, kind: For = For.THINKING, client: str = ""
    ) -> AsyncGenerator[None, None]:
        """Hold `count` places, or as many as there are; waits for them.

        Args:
            client: whom it is for.
        """
        count = min(count, self._limits[kind])
        await self._wait(count, kind, client)
        try:
            yield
        finally:
            self._give(count, kind, client)

    async def _wait(self, count: int, kind: For, client: str) -> None:
        turn = _Turn(client, count, asyncio.get_running_loop().create_future())
        self._waiting[kind].append(turn)
        self._num_wanted[kind] += count
        self._call_next()
        try:
            await turn.called
        except asyncio.CancelledError:
            if turn.called.done() and not turn.called.cancelled():
                self._give(count, kind, client)  # they came in the same moment
            else:
                self._leave(turn, kind)
                self._call_next()
            raise

    def _leave(self, turn: _Turn, kind: For) -> None:
        if turn in self._waiting[kind]:
            self._waiting[kind].remove(turn)
            self._num_wanted[kind] -= turn.count

    def _give(self, count: int, kind: For, client: str) -> None:
        self._num_taken[kind] -= count
        self._held[client] -= count
        if not self._held[client]:
            del self._held[client]
        self._call_next()

    def _fits(self, count: int, kind: For) -> bool:
        limit = self._limits[kind]
        if kind is For.ANSWER and self._num_wanted[For.THINKING]:
            limit = self._num_spare
        return self._num_taken[kind] + count <= limit and self.num_taken + count <= self.num_all

    def _call_next(self) -> None:
        while any(self._call_first(kind) for kind in For):
            pass

    def _call_first(self, kind: For) -> bool:
        """Give who is next of a kind what they wait for, if it is there; whether one fewer waits."""
        if not (waiting := self._waiting[kind]):
            return False
        turn = min(waiting, key=lambda one: self._held[one.client])
        if not turn.called.cancelled():  # one that is was given up, and does not know it yet
            if not self._fits(turn.count, kind):
                return False
            self._num_taken[kind] += turn.count
            self._held[turn.client] += turn.count
            turn.called.set_result(None)
        self._leave(turn, kind)
        return True
