"""Leases on the engine: slots from the shared pool, and limits that follow its load."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from anytime_server.scheduler.active import ActiveSessions
from anytime_server.scheduler.shedding import LoadShedder
from anytime_server.scheduler.slots import SlotPool
from anytime_server.session import CompiledRequest, Lease, Session, SlotKind
from anytime_server.session.latency import LatencyEstimator

STREAMS_PER_TOKEN, MAX_INTERVAL_S = 16, 0.2
"""Between batches of deltas a reader rests for the time of one token per this many other streams, up to
a limit in seconds: many streams get fewer, larger deltas, which leaves time for sampling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """State that the leases of one scheduler share."""

    slots: SlotPool
    shedder: LoadShedder | None
    """None lets requests wait instead."""
    latency: LatencyEstimator
    active: ActiveSessions


class SlotLease(Lease):
    """A lease on slots of the pool."""

    def __init__(self, request: CompiledRequest, capacity: Capacity) -> None:
        self._capacity = capacity
        self._client = request.context.client
        self._num_slots = 1 + request.max_early_answers
        self._draw = random.random()

    def slot(self, kind: SlotKind) -> AbstractAsyncContextManager[None]:
        count = self._num_slots if kind is SlotKind.THINKING else 1
        return self._capacity.slots.hold(count, kind=kind, client=self._client)

    def thinking_limit(self) -> int | None:
        shedder = self._capacity.shedder
        if shedder is None:
            return None
        return shedder.thinking_limit(self._draw, num_wanted=self._capacity.slots.num_wanted)

    def answers_ahead(self) -> float:
        return self._capacity.slots.num_wanted / self._capacity.slots.num_slots

    def delta_interval_s(self) -> float:
        tokens = (len(self._capacity.active) - 1) // STREAMS_PER_TOKEN
        return min(MAX_INTERVAL_S, tokens * self._capacity.latency.inter_token_s) if tokens > 0 else 0.0

    def release(self, session: Session) -> None:
        self._capacity.active.end(session)
