"""Unread events are merged without loss and in order, and readers wait for batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from anytime_server.errors import AnytimeError
from anytime_server.reasoning import Cause
from anytime_server.session import event_queue, events
from anytime_server.session.event_queue import MERGE_AT, EventQueue, merged, read_queues
from anytime_server.text.answer_text import AnswerToken

END = events.Failed(error=AnytimeError("over"))


def thinking(total: int, text: str = "x") -> events.ThinkingDelta:
    return events.ThinkingDelta(text=text, total_tokens=total)


def answer(index: int, text: str) -> events.AnswerDelta:
    token = AnswerToken(text=text, logprob=-0.5, top=())
    return events.AnswerDelta(index=index, text=text, tokens=(token,), provisional=index == 0)


def started(index: int) -> events.AnswerStarted:
    return events.AnswerStarted(index=index, at_tokens=3, provisional=True, cause=None)


def test_neighbouring_deltas_of_one_kind_are_merged_in_order() -> None:
    emitted = [thinking(1, "a"), thinking(3, "b"), started(0), answer(0, "c"), answer(0, "d"), answer(1, "e")]
    emitted += [thinking(4, "f"), END]
    thought, start, first, second, next_thought, end = merged(emitted)
    assert thought == thinking(3, "ab")
    assert (start, second, next_thought, end) == (started(0), answer(1, "e"), thinking(4, "f"), END)
    assert isinstance(first, events.AnswerDelta)
    assert (first.text, first.provisional, [token.text for token in first.tokens]) == ("cd", True, ["c", "d"])
    assert emitted[0] == thinking(1, "a")


async def read(queue: EventQueue, **options: Any) -> AsyncGenerator[list[events.Event], None]:
    async for batch in read_queues([queue], **options):
        yield [event for _, event in batch]


async def read_all(queue: EventQueue) -> list[Sequence[events.Event]]:
    return [batch async for batch in read(queue)]


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of events in each merge."""
    merges: list[int] = []

    def counting(emitted: Sequence[events.Event]) -> list[events.Event]:
        merges.append(len(emitted))
        return merged(emitted)

    monkeypatch.setattr(event_queue, "merged", counting)
    return merges


async def test_unread_deltas_are_bounded_by_merging(merges: list[int]) -> None:
    queue = EventQueue()
    for total in range(1, 50 * MERGE_AT):
        queue.emit(thinking(total))
    assert len(merges) >= 50
    assert max(merges) <= MERGE_AT
    queue.emit(END)
    assert await read_all(queue) == [[thinking(50 * MERGE_AT - 1, "x" * (50 * MERGE_AT - 1)), END]]


async def test_unmergeable_events_are_kept_and_merging_is_tried_only_at_each_doubling(
    merges: list[int],
) -> None:
    queue = EventQueue()
    for index in range(8 * MERGE_AT):
        queue.emit(answer(index, "x"))
    assert len(merges) <= 4
    queue.emit(END)
    (batch,) = await read_all(queue)
    assert len(batch) == 8 * MERGE_AT + 1


async def test_resting_reader_gathers_deltas_and_is_woken_by_other_events() -> None:
    queue = EventQueue()
    batches = aiter(read(queue, rest_s=lambda: 60))
    queue.emit(thinking(1))
    assert await anext(batches) == [thinking(1)]
    resting = asyncio.ensure_future(anext(batches))
    for total in (2, 3):
        queue.emit(thinking(total))
        await asyncio.sleep(0)
    assert not resting.done()
    queue.emit(started(0))
    assert await resting == [thinking(3, "xx"), started(0)]
    first = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    queue.emit(answer(0, "4"))
    assert await first == [answer(0, "4")]
    more = asyncio.ensure_future(anext(batches))
    queue.emit(answer(0, "2"))
    await asyncio.sleep(0.01)
    assert not more.done()
    queue.emit(thinking(4))
    await asyncio.sleep(0.01)
    assert not more.done()
    queue.emit(END)
    assert await more == [answer(0, "2"), thinking(4), END]


async def test_idle_reader_gets_an_empty_batch() -> None:
    queue = EventQueue()
    batches = aiter(read(queue, idle_s=0.001))
    assert await anext(batches) == []
    queue.emit(END)
    assert await anext(batches) == [END]


async def test_reading_several_queues_ends_at_the_first_failure() -> None:
    queues = [EventQueue(), EventQueue(), EventQueue()]
    for queue, last in zip(queues, (thinking(2), END, END), strict=True):
        queue.emit(thinking(1))
        queue.emit(last)
    batches = [batch async for batch in read_queues(queues)]
    assert batches == [[(0, thinking(2, "xx")), (1, thinking(1)), (1, END)]]


async def test_batches_of_several_queues_name_their_queue_until_all_are_done() -> None:
    queues = [EventQueue(), EventQueue()]
    batches = aiter(read_queues(queues, rest_s=lambda: 60))
    done: Any = [done_of(str(index)) for index in range(2)]
    queues[1].emit(thinking(1))
    assert await anext(batches) == [(1, thinking(1))]
    queues[0].emit(done[0])
    assert await anext(batches) == [(0, done[0])]
    more = asyncio.ensure_future(anext(batches))
    queues[1].emit(thinking(2))
    await asyncio.sleep(0.01)
    assert not more.done()  # one queue is still open, so the reader rests
    queues[1].emit(done[1])
    assert await more == [(1, thinking(2)), (1, done[1])]
    assert [batch async for batch in batches] == []


async def test_reader_does_not_rest_after_the_last_event() -> None:
    queue = EventQueue()
    queue.emit(done_of("0"))
    async with asyncio.timeout(5):
        assert await anext(aiter(read(queue, rest_s=lambda: 60))) == [done_of("0")]
        assert [batch async for batch in read_queues([], rest_s=lambda: 60)] == []


async def test_rest_ends_with_its_time() -> None:
    queue = EventQueue()
    batches = aiter(read(queue, rest_s=lambda: 0.01))
    queue.emit(thinking(1))
    assert await anext(batches) == [thinking(1)]
    queue.emit(thinking(2))
    async with asyncio.timeout(5):
        assert await anext(batches) == [thinking(2)]


def test_taken_events_are_gone_and_merged() -> None:
    queue = EventQueue()
    queue.emit(thinking(1))
    queue.emit(thinking(2))
    assert queue.take() == [thinking(2, "xx")]
    assert queue.take() == []


def done_of(session_id: str) -> events.Done:
    return events.Done(
        id=session_id,
        stop=events.Stop(cause=Cause.BUDGET, budget_tokens=2, thinking_tokens=2),
        answer="42",
        usage=events.Usage(
            prompt_tokens=1,
            prompt_cached_tokens=0,
            thinking_tokens=2,
            inserted_tokens=1,
            answer_tokens=3,
            provisional_tokens=0,
            cached_tokens=0,
        ),
        timing=events.Timing(
            time_to_first_token_s=0.0, cut_to_answer_s=0.0, time_to_answer_s=0.0, total_s=0.0
        ),
        continuation=None,
    )
