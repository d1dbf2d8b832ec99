"""Engine slots: the next goes to the client that holds the fewest, and among its waiters to the first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anytime_server.session import SlotKind


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    client: str
    count: int
    granted: asyncio.Future[None]


class SlotPool:
    """A fixed number of slots. Several are granted at once; the head of the queue is never bypassed."""

    def __init__(self, capacity: int, *, num_spare: int = 1) -> None:
        """
        Args:
            capacity: slots for thinking.
            num_spare: further slots, which are never used for thinking.
        """
        self.resize(capacity, num_spare=num_spare)
        self._held_by_client = Counter[str]()
        self._num_held = dict.fromkeys(SlotKind, 0)
        self._num_wanted = dict.fromkeys(SlotKind, 0)
        self._queues: dict[SlotKind, list[_Waiter]] = {kind: [] for kind in SlotKind}

    def resize(self, capacity: int, *, num_spare: int) -> None:
        """Change the number of slots, while none is held or waited for."""
        self.capacity = capacity
        self.num_slots = capacity + num_spare
        self._num_spare = num_spare
        self._limits = {
            SlotKind.LATE_ANSWER: self.num_slots,
            SlotKind.ANSWER: self.num_slots,
            SlotKind.THINKING: capacity,
        }

    @property
    def num_held(self) -> int:
        """Slots in use."""
        return sum(self._num_held.values())

    @property
    def num_wanted(self) -> int:
        """Slots that waiting sessions want for thinking."""
        return self._num_wanted[SlotKind.THINKING]

    @property
    def num_free(self) -> int:
        """Free slots for thinking."""
        return min(self.capacity - self._num_held[SlotKind.THINKING], self.num_slots - self.num_held)

    @asynccontextmanager
    async def hold(
        self, count: int = 1, *, kind: SlotKind = SlotKind.THINKING, client: str = ""
    ) -> AsyncGenerator[None, None]:
        """Hold `count` slots, or as many as exist; waits for them."""
        count = min(count, self._limits[kind])
        await self._acquire(count, kind, client)
        try:
            yield
        finally:
            self._release(count, kind, client)

    async def _acquire(self, count: int, kind: SlotKind, client: str) -> None:
        waiter = _Waiter(client, count, asyncio.get_running_loop().create_future())
        self._queues[kind].append(waiter)
        self._num_wanted[kind] += count
        self._grant_all()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._release(count, kind, client)  # granted in the same moment
            else:
                self._remove(waiter, kind)
                self._grant_all()
            raise

    def _remove(self, waiter: _Waiter, kind: SlotKind) -> None:
        if waiter in self._queues[kind]:
            self._queues[kind].remove(waiter)
            self._num_wanted[kind] -= waiter.count

    def _release(self, count: int, kind: SlotKind, client: str) -> None:
        self._num_held[kind] -= count
        self._held_by_client[client] -= count
        if not self._held_by_client[client]:
            del self._held_by_client[client]
        self._grant_all()

    def _fits(self, count: int, kind: SlotKind) -> bool:
        limit = self._limits[kind]
        if kind is SlotKind.ANSWER and self._num_wanted[SlotKind.THINKING]:
            limit = self._num_spare
        return self._num_held[kind] + count <= limit and self.num_held + count <= self.num_slots

    def _grant_all(self) -> None:
        while any(self._grant_next(kind) for kind in SlotKind):
            pass

    def _grant_next(self, kind: SlotKind) -> bool:
        """Grant the head of a queue its slots, if they are free; returns whether the queue is shorter."""
        if not (queue := self._queues[kind]):
            return False
        waiter = min(queue, key=lambda one: self._held_by_client[one.client])
        if not waiter.granted.cancelled():  # a cancelled waiter has given up, and not run since
            if not self._fits(waiter.count, kind):
                return False
            self._num_held[kind] += waiter.count
            self._held_by_client[waiter.client] += waiter.count
            waiter.granted.set_result(None)
        self._remove(waiter, kind)
        return True
