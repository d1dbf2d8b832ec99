"""The limits on waiting sessions: of the whole queue, and of each API key. Knows no engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anytime_server.auth import Account
from anytime_server.errors import InvalidRequest, Overloaded, RateLimited, Unavailable
from anytime_server.scheduler.leases import Leases
from anytime_server.types import RequestContext


class QueueLimit:
    """Admits sessions to the queue. The sessions of a request count while it is being compiled."""

    def __init__(self, active: Leases, *, max_waiting: int) -> None:
        """
        Args:
            active: the sessions under way, waiting ones included.
            max_waiting: sessions that may wait for a slot.
        """
        self._active = active
        self._max_waiting = max_waiting
        self._reserved_by_client = Counter[str]()
        """Sessions of requests that are being compiled, by the name of their API key."""
        self._refusals: set[asyncio.Timeout] = set()
        """One for each request that is being compiled; expiring it refuses the request."""
        self._is_released = asyncio.Event()
        self._is_released.set()

    @asynccontextmanager
    async def reserve(self, context: RequestContext, num_sessions: int) -> AsyncIterator[None]:
        """Keep room in the queue for the sessions of a request while it is being compiled.

        Raises:
            Overloaded, RateLimited: there is not enough room.
            Unavailable: `refuse_all()` was called meanwhile.
        """
        client, refusal = context.client, asyncio.timeout(None)
        self._require_room(context.account, num_sessions)
        self._reserved_by_client[client] += num_sessions
        self._refusals.add(refusal)
        self._is_released.clear()
        try:
            async with refusal:
                yield
        except TimeoutError:
            if not refusal.expired():
                raise
            raise Unavailable("the server stops") from None
        finally:
            self._refusals.discard(refusal)
            self._reserved_by_client[client] -= num_sessions
            self._reserved_by_client += Counter()  # drops those at 0
            if not self._refusals:
                self._is_released.set()

    def refuse_all(self) -> None:
        """Refuse the requests that are being compiled."""
        now = asyncio.get_running_loop().time()
        for refusal in self._refusals:
            if not refusal.expired():
                refusal.reschedule(now)

    async def released(self) -> None:
        """Wait until no request is being compiled."""
        await self._is_released.wait()

    def _require_room(self, account: Account | None, num_sessions: int) -> None:
        """Check that the queue has room, or that there are free slots, for further sessions.

        Without a `max_waiting` of its own, an API key may fill half of the room that other keys leave:
        one key alone fills half of it, two keys a third each.
        """
        if num_sessions > (most := self._max_waiting + self._active.slots.num_slots):
            raise InvalidRequest(f"{num_sessions} choices are more than the {most} that fit", field="n")
        waiting, num_free = self._active.waiting_by_client(), self._active.slots.num_free
        wanted = waiting + self._reserved_by_client
        # By then the queue is likely to be shorter.
        retry_after_s = max(1.0, self._active.mean_held_s)
        if wanted.total() + num_sessions > self._max_waiting + num_free:
            raise Overloaded(f"{waiting.total()} requests wait already", retry_after_s=retry_after_s)
        if account is None:
            return
        limit = account.limits.max_waiting
        if limit is None:
            num_others = wanted.total() - wanted[account.name]
            limit = -(-(self._max_waiting - num_others) // 2)
        if wanted[account.name] + num_sessions > limit + num_free:
            raise RateLimited(
                f"{waiting[account.name]} requests of this API key wait already", retry_after_s=retry_after_s
            )
