"""Events that a session has emitted and nobody has read yet; several queues can be read as one.

A queue is bounded by its text, however slow the reader: neighbouring deltas are merged.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence

from anytime_server.session import events

MERGE_AT = 128
"""Unread events from which on they are merged, so that a reader that does not read costs little."""


class EventQueue:
    """Unread events of one session."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        """Set when there is an unread event. Queues that are read together share one."""
        self.urgent_news = asyncio.Event()
        """Set when there is an event that is not to wait for others: anything but a delta, and an answer's
        first delta."""
        self._unread: list[events.Event] = []
        self._last: events.Event | None = None
        self._merge_at = MERGE_AT

    def emit(self, event: events.Event) -> None:
        """Append an event."""
        first_of_answer = isinstance(self._last, events.AnswerStarted)
        self._last = event
        self._unread.append(event)
        if len(self._unread) >= self._merge_at:
            self._unread = merged(self._unread)
            self._merge_at = max(MERGE_AT, 2 * len(self._unread))
        self.news.set()
        if first_of_answer or not isinstance(event, events.ThinkingDelta | events.AnswerDelta):
            self.urgent_news.set()

    def take(self) -> list[events.Event]:
        """Remove and return all unread events, merged."""
        taken, self._unread, self._merge_at = merged(self._unread), [], MERGE_AT
        return taken


async def read_queues(
    queues: Sequence[EventQueue], *, idle_s: float | None = None, rest_s: Callable[[], float] = lambda: 0.0
) -> AsyncGenerator[list[tuple[int, events.Event]], None]:
    """Batches of events as they come, each event with the index of its queue.

    Ends after the last `Done` of all queues, or after the first `Failed`.

    Args:
        idle_s: seconds without an event after which an empty batch is yielded; None waits.
        rest_s: seconds after a batch in which further deltas are gathered instead of yielded.
    """
    news, urgent_news = asyncio.Event(), asyncio.Event()
    news.set()
    for queue in queues:
        queue.news, queue.urgent_news = news, urgent_news
    num_open = len(queues)
    while num_open:
        try:
            async with asyncio.timeout(idle_s):
                await news.wait()
        except TimeoutError:
            yield []
            continue
        news.clear()
        urgent_news.clear()
        batch = [(index, event) for index, queue in enumerate(queues) for event in queue.take()]
        if not batch:
            continue
        failed_at = next((i for i, (_, event) in enumerate(batch) if isinstance(event, events.Failed)), None)
        if failed_at is not None:
            yield batch[: failed_at + 1]
            return
        yield batch
        num_open -= sum(isinstance(event, events.Done) for _, event in batch)
        if num_open and (seconds := rest_s()) > 0:
            await _rest(urgent_news, seconds)


async def _rest(urgent_news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await urgent_news.wait()
    except TimeoutError:
        return


def merged(emitted: Sequence[events.Event]) -> list[events.Event]:
    """The same with fewer deltas: neighbouring deltas of the thinking, or of one answer, become one."""
    result: list[events.Event] = []
    run: list[events.Event] = []
    for event in emitted:
        if run and not _continues(run[0], event):
            result.append(_one(run))
            run = []
        run.append(event)
    if run:
        result.append(_one(run))
    return result


def _continues(first: events.Event, event: events.Event) -> bool:
    match first, event:
        case events.ThinkingDelta(), events.ThinkingDelta():
            return True
        case events.AnswerDelta(), events.AnswerDelta():
            return first.index == event.index
    return False


def _one(run: Sequence[events.Event]) -> events.Event:
    last = run[-1]
    if len(run) == 1:
        return last
    if isinstance(last, events.ThinkingDelta):
        text = "".join(event.text for event in run if isinstance(event, events.ThinkingDelta))
        return dataclasses.replace(last, text=text)
    deltas = [event for event in run if isinstance(event, events.AnswerDelta)]
    return dataclasses.replace(
        deltas[-1],
        text="".join(delta.text for delta in deltas),
        tokens=tuple(token for delta in deltas for token in delta.tokens),
    )
