"""Interrupts in virtual time: what is awaited ends at the clock's latest estimate, or when fired."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from anytime_server.session.interrupt import CHECK_S, Interrupt

from .virtual_time import virtual_time

START = 1000.0


class SetClock:
    """A clock that the test sets."""

    def __init__(self, latest: float | None = None) -> None:
        self.at = latest

    def latest(self) -> float | None:
        return self.at


def play(work: Coroutine[Any, Any, Any]) -> tuple[Any, float]:
    """The result, and the seconds after which it came."""
    with virtual_time() as runner:
        result = runner.run(work)
        return result, runner.get_loop().time() - START


def test_work_that_is_done_before_the_latest_time() -> None:
    interrupt = Interrupt(SetClock(START + 5))
    assert play(interrupt.run(asyncio.sleep(2))) == (True, pytest.approx(2))
    assert not interrupt.has_expired


@pytest.mark.parametrize("latest", [START - 1, START, START + 5])
def test_work_ends_at_the_latest_time(latest: float) -> None:
    done, seconds = play(Interrupt(SetClock(latest)).run(asyncio.sleep(60)))
    assert (done, seconds) == (False, pytest.approx(max(0, latest - START)))


def test_work_without_a_latest_time_is_never_ended() -> None:
    assert play(Interrupt(SetClock()).run(asyncio.sleep(1e6))) == (True, 1e6)


@pytest.mark.parametrize("estimate", [START + 3, START + 9])
def test_a_changed_estimate_applies_without_an_update(estimate: float) -> None:
    """The clock is looked at again and again."""
    clock = SetClock(START + 6)

    async def run() -> bool:
        asyncio.get_running_loop().call_later(1, setattr, clock, "at", estimate)
        return await Interrupt(clock).run(asyncio.sleep(60))

    done, seconds = play(run())
    assert (done, seconds) == (False, pytest.approx(estimate - START, abs=CHECK_S))


def test_an_update_looks_at_the_clock_at_once() -> None:
    clock = SetClock(None)
    interrupt = Interrupt(clock)

    def update() -> None:
        clock.at = START + 1.25
        interrupt.update()

    async def run() -> bool:
        interrupt.update()  # nothing is awaited yet
        asyncio.get_running_loop().call_later(1, update)
        return await interrupt.run(asyncio.sleep(60))

    assert play(run()) == (False, pytest.approx(1.25))


def test_a_fired_interrupt_ends_the_work_at_once_whatever_the_clock_says() -> None:
    interrupt = Interrupt(SetClock(START + 6))
    expired: list[bool] = []

    def fire() -> None:
        interrupt.fire()
        interrupt.update()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            expired.append(interrupt.has_expired)
            interrupt.fire()
            interrupt.update()

    async def run() -> bool:
        asyncio.get_running_loop().call_later(2, fire)
        return await interrupt.run(work())

    assert play(run()) == (False, pytest.approx(2))
    assert expired == [True]


def test_firing_where_nothing_is_awaited_does_nothing() -> None:
    interrupt = Interrupt(SetClock(START + 6))

    async def run() -> list[bool]:
        interrupt.fire()
        first = await interrupt.run(asyncio.sleep(2))
        interrupt.fire()
        return [first, interrupt.has_expired, await interrupt.run(asyncio.sleep(60))]

    assert play(run()) == ([True, False, False], pytest.approx(6))


@pytest.mark.parametrize("latest", [None, START + 5])
def test_a_time_out_of_the_work_itself_is_passed_on(latest: float | None) -> None:
    async def fail() -> None:
        raise TimeoutError("of the work")

    with pytest.raises(TimeoutError, match="of the work"):
        play(Interrupt(SetClock(latest)).run(fail()))


def test_the_clock_is_left_alone_after_the_work() -> None:
    """A session outlives its thinking; nothing may go on looking."""
    looks: list[float] = []

    class CountedClock(SetClock):
        def latest(self) -> float | None:
            looks.append(1)
            return super().latest()

    async def run() -> int:
        await Interrupt(CountedClock(START + 60)).run(asyncio.sleep(1))
        num_looks = len(looks)
        await asyncio.sleep(10)
        return len(looks) - num_looks

    assert play(run())[0] == 0
    assert len(looks) >= 1 / CHECK_S
