"""Slots are granted in order and all at once, and never lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from anytime_server.scheduler.slots import SlotPool
from anytime_server.session import SlotKind


async def hold(slots: SlotPool, count: int, name: str, log: list[str], leave: asyncio.Event) -> None:
    async with slots.hold(count):
        log.append(name)
        await leave.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_queue_head_is_not_bypassed_by_a_smaller_request() -> None:
    slots, log = SlotPool(3, num_spare=0), list[str]()
    leave = {name: asyncio.Event() for name in "abc"}
    tasks = [
        asyncio.create_task(hold(slots, count, name, log, leave[name]))
        for name, count in (("a", 2), ("b", 2), ("c", 1))
    ]
    await settle()
    # A slot is free, but "c" does not overtake "b".
    assert (log, slots.num_held, slots.num_wanted) == (["a"], 2, 3)
    leave["a"].set()
    await settle()
    assert (log, slots.num_held, slots.num_wanted) == (["a", "b", "c"], 3, 0)
    leave["b"].set()
    leave["c"].set()
    await asyncio.gather(*tasks)
    assert slots.num_held == 0


async def test_request_for_more_slots_than_exist_gets_all() -> None:
    slots = SlotPool(2, num_spare=0)
    async with slots.hold(5):
        assert slots.num_held == 2
    assert slots.num_held == 0


@pytest.mark.parametrize("cancelled", ["before", "just before", "just after"])
async def test_cancelled_waiter_passes_its_slot_to_the_next(cancelled: str) -> None:
    slots, log = SlotPool(1, num_spare=0), list[str]()
    leave = asyncio.Event()
    async with slots.hold():
        impatient = asyncio.create_task(hold(slots, 1, "impatient", log, leave))
        patient = asyncio.create_task(hold(slots, 1, "patient", log, leave))
        await settle()
        if cancelled != "just after":
            impatient.cancel()
        if cancelled == "before":
            await settle()
            assert slots.num_wanted == 1
    impatient.cancel()
    await settle()
    assert log == ["patient"]
    leave.set()
    await asyncio.gather(patient, impatient, return_exceptions=True)
    assert (slots.num_held, slots.num_wanted) == (0, 0)


async def test_cancelled_large_waiter_lets_smaller_waiters_in() -> None:
    slots, log = SlotPool(2, num_spare=0), list[str]()
    leave = asyncio.Event()
    async with slots.hold():
        large = asyncio.create_task(hold(slots, 2, "large", log, leave))
        small = asyncio.create_task(hold(slots, 1, "small", log, leave))
        await settle()
        assert log == []
        large.cancel()
        await settle()
        assert log == ["small"]
    leave.set()
    await small


async def test_spare_slots_are_for_answers_and_late_answers_use_any_slot() -> None:
    slots, log = SlotPool(2, num_spare=1), list[str]()
    leave = {name: asyncio.Event() for name in "abcdef"}

    async def want(name: str, kind: SlotKind) -> None:
        async with slots.hold(kind=kind):
            log.append(name)
            await leave[name].wait()

    waiters = [
        ("a", SlotKind.THINKING), ("b", SlotKind.THINKING), ("c", SlotKind.THINKING),
        ("d", SlotKind.ANSWER), ("e", SlotKind.ANSWER), ("f", SlotKind.LATE_ANSWER),
    ]  # fmt: skip
    tasks = [asyncio.create_task(want(*waiter)) for waiter in waiters]
    await settle()
    # Two think, one answers in the spare slot; "c" may not use that slot, and the others find it taken.
    assert log == ["a", "b", "d"]
    assert slots.num_wanted == 1
    leave["a"].set()
    await settle()
    assert log[3:] == ["f"]  # before "c", which came first, and "e": answers already use the spare slot
    leave["f"].set()
    await settle()
    assert log[4:] == ["c"]
    leave["d"].set()
    await settle()
    assert log[5:] == ["e"]
    for event in leave.values():
        event.set()
    await asyncio.gather(*tasks)
    assert (slots.num_held, slots.num_wanted) == (0, 0)


async def test_client_with_many_waiters_does_not_delay_another() -> None:
    slots, log = SlotPool(2, num_spare=0), list[str]()
    leave = {name: asyncio.Event() for name in ("a1", "a2", "a3", "a4", "b1", "b2")}

    async def want(name: str) -> None:
        async with slots.hold(client=name[0]):
            log.append(name)
            await leave[name].wait()

    tasks = [asyncio.create_task(want(name)) for name in leave]
    await settle()
    assert log == ["a1", "a2"]
    leave["a1"].set()
    await settle()
    assert log[2:] == ["b1"]  # "b1" came after "a3" and "a4", but "b" holds no slot
    leave["a2"].set()
    await settle()
    assert log[3:] == ["a3"]  # now "b" holds a slot, and "a" none
    leave["b1"].set()
    await settle()
    assert log[4:] == ["b2"]
    for event in leave.values():
        event.set()
    await asyncio.gather(*tasks)
    assert (log[5:], slots.num_held, slots.num_wanted) == (["a4"], 0, 0)


async def test_slots_of_every_kind_count_as_held() -> None:
    slots, log = SlotPool(2, num_spare=0), list[str]()
    leave, leave_first = asyncio.Event(), asyncio.Event()

    async def want(name: str, kind: SlotKind, leave: asyncio.Event) -> None:
        async with slots.hold(kind=kind, client=name[0]):
            log.append(name)
            await leave.wait()

    tasks = [
        asyncio.create_task(want("a answers", SlotKind.ANSWER, leave)),
        asyncio.create_task(want("b thinks", SlotKind.THINKING, leave_first)),
        asyncio.create_task(want("a thinks", SlotKind.THINKING, leave)),
        asyncio.create_task(want("c thinks", SlotKind.THINKING, leave)),
    ]
    await settle()
    leave_first.set()
    await settle()
    assert log == ["a answers", "b thinks", "c thinks"]
    leave.set()
    await asyncio.gather(*tasks)


async def test_free_slots_exclude_those_used_for_thinking_or_answers() -> None:
    slots = SlotPool(3, num_spare=1)
    async with AsyncExitStack() as held:
        await held.enter_async_context(slots.hold(2))
        assert slots.num_free == 1
        await held.enter_async_context(slots.hold(kind=SlotKind.ANSWER))
        assert slots.num_free == 1
        await held.enter_async_context(slots.hold(kind=SlotKind.LATE_ANSWER))
        assert slots.num_free == 0


async def test_slot_granted_to_a_cancelled_waiter_no_longer_counts_for_its_client() -> None:
    slots, log = SlotPool(1, num_spare=0), list[str]()
    leave = asyncio.Event()

    async def want(name: str) -> None:
        async with slots.hold(client=name[0]):
            log.append(name)
            await leave.wait()

    async with slots.hold(client="c"):
        cancelled = asyncio.create_task(want("a1"))
        await settle()
    cancelled.cancel()  # its slot has just been granted
    await settle()
    async with slots.hold(client="c"):
        tasks = [asyncio.create_task(want(name)) for name in ("a2", "b1")]
        await settle()
    await settle()
    assert log == ["a2"]  # neither client holds a slot, so the first waiter is next
    leave.set()
    await asyncio.gather(*tasks)
    assert (log, slots.num_held) == (["a2", "b1"], 0)
