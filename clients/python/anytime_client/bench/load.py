"""Load: requests by users who ask one after another, or at times that were drawn beforehand.

Knows when to send, not what: a request has a number.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from anytime_client.bench.exchange import Exchange

Send = Callable[[int], Awaitable[Exchange]]
"""Send the request of that number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request of a run. Times are seconds from the run's beginning."""

    number: int
    due_s: float
    """When it was to be sent: what its latency counts from."""
    exchange: Exchange


@dataclass(slots=True, kw_only=True)
class Run:
    """What has become of the load so far."""

    sent: list[Sent] = field(default_factory=list[Sent])
    """Requests that have ended, in that order."""
    interrupted: bool = False
    num_under_way: int = 0
    """Others; after the run, those that were given up when it was interrupted."""
    began_s: float = 0.0
    """By `time.perf_counter()`."""
    cpu_s: float = 0.0
    """Processor time of this process meanwhile."""
    wall_s: float = 0.0


def arrivals(rate: float, *, count: int | None, duration_s: float | None, seed: int) -> Iterator[float]:
    """Times of Poisson arrivals, `rate` a second, as many as there are or fit in; one of both is given."""
    draw = random.Random(seed)
    times = itertools.accumulate(draw.expovariate(rate) for _ in itertools.count())
    in_time = itertools.takewhile(lambda at: at <= (duration_s or math.inf), times)
    return itertools.islice(in_time, count)


async def open_loop(send: Send, times: Iterable[float], run: Run) -> None:
    """Send requests at these times, in their order, whatever becomes of those before."""

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as under_way:
            for number, due_s in enumerate(times):
                await asyncio.sleep(run.began_s + due_s - time.perf_counter())
                under_way.create_task(_send(send, number, due_s, run))

    await _watched(run, [all_of_them()])


async def closed_loop(
    send: Send, run: Run, *, users: int, count: int | None, duration_s: float | None
) -> None:
    """So many users, each with one request at a time, until so many were sent or the time is over."""
    numbers: Iterator[int] = iter(range(count)) if count is not None else itertools.count()

    async def user() -> None:
        for number in numbers:
            due_s = time.perf_counter() - run.began_s
            if duration_s is not None and due_s >= duration_s:
                return
            await _send(send, number, due_s, run)

    await _watched(run, [user() for _ in range(users)])


async def _send(send: Send, number: int, due_s: float, run: Run) -> None:
    run.num_under_way += 1
    exchange = await send(number)
    run.num_under_way -= 1
    run.sent.append(Sent(number=number, due_s=due_s, exchange=exchange))


async def _watched(run: Run, parts: Sequence[Awaitable[None]]) -> None:
    cpu_s, run.began_s = time.process_time(), time.perf_counter()
    try:
        await asyncio.gather(*parts)
    finally:
        run.cpu_s = time.process_time() - cpu_s
        run.wall_s = time.perf_counter() - run.began_s
