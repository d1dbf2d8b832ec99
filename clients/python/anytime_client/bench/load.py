"""The schedule of the load: a closed loop of users, or an open loop of random arrival times.

Knows when to send a request, not what is in it: a request is only a number.
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
"""Sends the request with the given number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A completed request. Times are seconds from the start of the run."""

    number: int
    due_s: float
    """Time at which the request was due to be sent. Latencies count from this time."""
    exchange: Exchange


@dataclass(slots=True, kw_only=True)
class Run:
    """The state of a run."""

    sent: list[Sent] = field(default_factory=list[Sent])
    """Completed requests, in the order of completion."""
    interrupted: bool = False
    num_in_flight: int = 0
    """Requests in flight; after an interrupted run, those that were abandoned."""
    began_s: float = 0.0
    """Start of the run, by `time.perf_counter()`."""
    cpu_s: float = 0.0
    """Processor time that this process used during the run."""
    wall_s: float = 0.0


def arrivals(rate: float, *, count: int | None, duration_s: float | None, seed: int) -> Iterator[float]:
    """Poisson arrival times, `rate` per second, until `count` or `duration_s` is reached; one may be None."""
    draw = random.Random(seed)
    times = itertools.accumulate(draw.expovariate(rate) for _ in itertools.count())
    in_time = itertools.takewhile(lambda at: at <= (duration_s or math.inf), times)
    return itertools.islice(in_time, count)


async def open_loop(send: Send, times: Iterable[float], run: Run) -> None:
    """Send a request at each of the times, in order, without waiting for earlier requests."""

    async def send_all() -> None:
        async with asyncio.TaskGroup() as in_flight:
            for number, due_s in enumerate(times):
                await asyncio.sleep(run.began_s + due_s - time.perf_counter())
                in_flight.create_task(_send(send, number, due_s, run))

    await _measured(run, [send_all()])


async def closed_loop(
    send: Send, run: Run, *, users: int, count: int | None, duration_s: float | None
) -> None:
    """`users` users, each with one request at a time, until `count` or `duration_s` is reached."""
    numbers: Iterator[int] = iter(range(count)) if count is not None else itertools.count()

    async def user() -> None:
        for number in numbers:
            due_s = time.perf_counter() - run.began_s
            if duration_s is not None and due_s >= duration_s:
                return
            await _send(send, number, due_s, run)

    await _measured(run, [user() for _ in range(users)])


async def _send(send: Send, number: int, due_s: float, run: Run) -> None:
    run.num_in_flight += 1
    exchange = await send(number)
    run.num_in_flight -= 1
    run.sent.append(Sent(number=number, due_s=due_s, exchange=exchange))


async def _measured(run: Run, coroutines: Sequence[Awaitable[None]]) -> None:
    cpu_s, run.began_s = time.process_time(), time.perf_counter()
    try:
        await asyncio.gather(*coroutines)
    finally:
        run.cpu_s = time.process_time() - cpu_s
        run.wall_s = time.perf_counter() - run.began_s
