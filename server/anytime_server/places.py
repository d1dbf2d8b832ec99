"""Places in the engine, given out in the order in which they are asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Places:
    """So many places; who wants several gets all of them at once, and nobody overtakes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._num_taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def num_taken(self) -> int:
        """Places that are held."""
        return self._num_taken

    @property
    def num_wanted(self) -> int:
        """Places that are waited for."""
        return sum(count for count, _ in self._waiting)

    @asynccontextmanager
    async def hold(self, count: int = 1) -> AsyncGenerator[None, None]:
        """Hold `count` places, or as many as there are; waits for them."""
        count = min(count, self.capacity)
        await self._take(count)
        try:
            yield
        finally:
            self._give(count)

    async def _take(self, count: int) -> None:
        if not self._waiting and self._num_taken + count <= self.capacity:
            self._num_taken += count
            return
        turn = asyncio.get_running_loop().create_future()
        entry = (count, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(count)  # they came in the same moment
            else:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                self._call_next()
            raise

    def _give(self, count: int) -> None:
        self._num_taken -= count
        self._call_next()

    def _call_next(self) -> None:
        while self._waiting:
            count, turn = self._waiting[0]
            if not turn.cancelled():  # one that is was given up, and does not know it yet
                if self._num_taken + count > self.capacity:
                    return
                self._num_taken += count
                turn.set_result(None)
            self._waiting.popleft()
