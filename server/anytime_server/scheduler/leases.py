"""Leases of the sessions under way: engine slots, and tokens set aside for their API keys."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from anytime_server.auth import Account, Admission
from anytime_server.errors import UnknownSession
from anytime_server.scheduler.shedding import LoadShedder
from anytime_server.scheduler.slots import SlotPool
from anytime_server.session import CompiledRequest, Lease, Runtime, Session, SlotKind, most_cost

RECENT_SESSIONS = 32
"""Sessions over which it is averaged how long a session holds its slots."""
STREAMS_PER_TOKEN, MAX_INTERVAL_S = 16, 0.2
"""Between batches of deltas a reader rests for the time of one token per this many other streams, up to
a limit in seconds: many streams get fewer, larger deltas, which leaves time for sampling."""


class Leases:
    """The sessions under way of one scheduler, by id, with their leases."""

    def __init__(self, slots: SlotPool, *, shedder: LoadShedder | None) -> None:
        """
        Args:
            shedder: limits thinking under load; None lets requests wait instead.
        """
        self.slots = slots
        self.shedder = shedder
        self.observers: list[Callable[[Session], None]] = []
        """Called with each session of a client that has ended: metrics, logs, traces."""
        self.mean_held_s = 0.0
        """Seconds for which recent sessions held their slots, on average; 0 before any has ended."""
        self._leases: dict[str, SlotLease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Session]:
        return iter([lease.session for lease in self._leases.values()])

    @property
    def num_waiting(self) -> int:
        """Sessions that wait for a slot."""
        return self.waiting_by_client().total()

    def waiting_by_client(self) -> Counter[str]:
        """Sessions that wait for a slot, by the name of their API key."""
        return Counter(session.request.context.client for session in self if session.phase == "waiting")

    def open(
        self,
        request: CompiledRequest,
        runtime: Runtime,
        *,
        admission: Admission | None = None,
        is_observed: bool = True,
    ) -> Session:
        """Start a session under a new lease.

        Args:
            admission: tokens that are set aside for the session's API key.
            is_observed: whether `observers` are called at its end.
        """
        lease = SlotLease(self, request, runtime, admission=admission, is_observed=is_observed)
        self._leases[request.id] = lease
        lease.session.start()
        return lease.session

    def find(self, session_id: str, account: Account | None) -> SlotLease:
        """The lease of a session under way that was opened with that account's key.

        Raises:
            UnknownSession: there is none; perhaps it has ended.
        """
        lease = self._leases.get(session_id)
        if lease is None or not lease.session.request.context.is_from(account):
            raise UnknownSession(f"no session {session_id!r} is under way")
        return lease

    def end(self, lease: SlotLease) -> None:
        """Remove the lease of a session that has ended, and notify observers."""
        session = lease.session
        del self._leases[session.request.id]
        if not lease.is_observed:
            return
        if (held_s := session.timeline.held_s) is not None:
            self.mean_held_s += (held_s - self.mean_held_s) / (RECENT_SESSIONS if self.mean_held_s else 1)
        for observe in self.observers:
            observe(session)

    async def ended(self) -> None:
        """Wait until all sessions that are under way now have ended."""
        await asyncio.gather(*(session.ended() for session in self))


class SlotLease(Lease):
    """One session's lease on slots of the pool."""

    def __init__(
        self,
        leases: Leases,
        request: CompiledRequest,
        runtime: Runtime,
        *,
        admission: Admission | None,
        is_observed: bool,
    ) -> None:
        self.admission = admission
        self.is_observed = is_observed
        self.session = Session(request, runtime, self)
        self._leases = leases
        self._client = request.context.client
        self._num_slots = 1 + request.max_early_answers
        self._draw = random.random()

    def slot(self, kind: SlotKind) -> AbstractAsyncContextManager[None]:
        count = self._num_slots if kind is SlotKind.THINKING else 1
        return self._leases.slots.hold(count, kind=kind, client=self._client)

    def thinking_limit(self) -> int | None:
        shedder = self._leases.shedder
        if shedder is None:
            return None
        slots = self._leases.slots
        return shedder.thinking_limit(self._draw, num_wanted=slots.num_wanted, num_slots=slots.capacity)

    def answers_ahead(self) -> float:
        return self._leases.slots.num_wanted / self._leases.slots.num_slots

    def delta_interval_s(self) -> float:
        tokens = (len(self._leases) - 1) // STREAMS_PER_TOKEN
        inter_token_s = self.session.runtime.latency.inter_token_s if tokens > 0 else 0.0
        return min(MAX_INTERVAL_S, tokens * inter_token_s)

    def extend(self, tokens: int) -> None:
        """Reserve the most that a budget raised by `tokens` may cost; the end refunds unused tokens.

        Raises:
            RateLimited, InvalidRequest: the API key has fewer tokens left.
        """
        if self.admission is not None:
            raised = most_cost(self.session.request, self.admission.reserved.thinking_tokens + tokens)
            self.admission.extend(raised - self.admission.reserved)

    def release(self) -> None:
        if self.admission is not None:
            self.admission.end(self.session.cost)
        self._leases.end(self)
