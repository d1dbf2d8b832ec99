"""Places in the engine, given out in the order in which they are asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import IntEnum


class For(IntEnum):
    """What a place is wanted for; the first of these goes first."""

    LATE_ANSWER = 0
    """An answer to thinking that was cut while it waited to begin. Gets any place that there is."""
    ANSWER = 1
    """An answer without thinking. Gets one of the spare places."""
    THINKING = 2
    """Thinking, the answer after it, and answers meanwhile. Gets those that are not spare."""


class Places:
    """So many places; who wants several gets all of them at once, and of one kind nobody overtakes."""

    def __init__(self, capacity: int, *, num_spare: int = 1) -> None:
        """
        Args:
            capacity: for thinking.
            num_spare: more of them, for answers alone.
        """
        self.capacity = capacity
        self.num_all = capacity + num_spare
        self._limits = {For.LATE_ANSWER: self.num_all, For.ANSWER: num_spare, For.THINKING: capacity}
        self._num_taken = dict.fromkeys(For, 0)
        self._num_wanted = dict.fromkeys(For, 0)
        self._waiting: dict[For, deque[tuple[int, asyncio.Future[None]]]] = {kind: deque() for kind in For}

    @property
    def num_taken(self) -> int:
        """Places that are held."""
        return sum(self._num_taken.values())

    @property
    def num_wanted(self) -> int:
        """Places that are waited for to think in."""
        return self._num_wanted[For.THINKING]

    @asynccontextmanager
    async def hold(self, count: int = 1, *, kind: For = For.THINKING) -> AsyncGenerator[None, None]:
        """Hold `count` places, or as many as there are; waits for them."""
        count = min(count, self._limits[kind])
        await self._take(count, kind)
        try:
            yield
        finally:
            self._give(count, kind)

    def _fits(self, count: int, kind: For) -> bool:
        return self._num_taken[kind] + count <= self._limits[kind] and self.num_taken + count <= self.num_all

    async def _take(self, count: int, kind: For) -> None:
        if not self._waiting[kind] and self._fits(count, kind):
            self._num_taken[kind] += count
            return
        turn = asyncio.get_running_loop().create_future()
        entry = (count, turn)
        self._waiting[kind].append(entry)
        self._num_wanted[kind] += count
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(count, kind)  # they came in the same moment
            elif entry in self._waiting[kind]:
                self._waiting[kind].remove(entry)
                self._num_wanted[kind] -= count
                self._call_next()
            raise

    def _give(self, count: int, kind: For) -> None:
        self._num_taken[kind] -= count
        self._call_next()

    def _call_next(self) -> None:
        for kind, waiting in self._waiting.items():
            while waiting:
                count, turn = waiting[0]
                if not turn.cancelled():  # one that is was given up, and does not know it yet
                    if not self._fits(count, kind):
                        break
                    self._num_taken[kind] += count
                    turn.set_result(None)
                waiting.popleft()
                self._num_wanted[kind] -= count
