"""What a session has said and nobody has read yet: bounded by its text, however slow the reader is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from anytime_server.session import events

MANY = 128
"""Unread events from which on they are merged, so that a reader who does not read costs little."""


class EventQueue:
    """Events, from one who says them to one who reads them."""

    def __init__(self, *, rest_s: Callable[[], float] = lambda: 0.0) -> None:
        """
        Args:
            rest_s: seconds after a batch in which deltas make no other one, but for an answer's first.
        """
        self._rest_s = rest_s
        self._unread: list[events.Event] = []
        self._last: events.Event | None = None
        self._merge_at = MANY
        self._news = asyncio.Event()
        self._urgent_news = asyncio.Event()

    def say(self, event: events.Event) -> None:
        """Put one in."""
        first_of_answer = isinstance(self._last, events.AnswerStarted)
        self._last = event
        self._unread.append(event)
        if len(self._unread) >= self._merge_at:
            self._unread = merged(self._unread)
            self._merge_at = max(MANY, 2 * len(self._unread))
        self._news.set()
        if first_of_answer or not isinstance(event, events.ThinkingDelta | events.AnswerDelta):
            self._urgent_news.set()

    async def read(self, *, idle_s: float | None = None) -> AsyncGenerator[list[events.Event], None]:
        """Events as they come, in batches of those that are there, to the last one.

        Args:
            idle_s: after so many seconds without an event comes an empty batch.
        """
        last_said = False
        while not last_said:
            if not self._unread:
                try:
                    async with asyncio.timeout(idle_s):
                        await self._news.wait()
                except TimeoutError:
                    yield []
                    continue
            batch, self._unread, self._merge_at = merged(self._unread), [], MANY
            self._news.clear()
            self._urgent_news.clear()
            last_said = isinstance(batch[-1], events.Done | events.ErrorEvent)
            yield batch
            if not last_said and (seconds := self._rest_s()) > 0:
                await self._rest(seconds)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._urgent_news.wait()
        except TimeoutError:
            return


class WholeAnswers:
    """Passes on what is said of an answer once it is whole."""

    def __init__(self, say: Callable[[events.Event], None]) -> None:
        self._say = say
        self._held: list[events.Event] = []

    def __call__(self, event: events.Event) -> None:
        self._held.append(event)
        if isinstance(event, events.AnswerDone):
            for held in self._held:
                self._say(held)


def merged(said: Sequence[events.Event]) -> list[events.Event]:
    """The same with fewer deltas: neighbours of the thinking, or of one answer, are made one."""
    result: list[events.Event] = []
    run: list[events.Event] = []
    for event in said:
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
    if len(run) == 1:
        return run[0]
    last = run[-1]
    if isinstance(last, events.ThinkingDelta):
        text = "".join(event.text for event in run if isinstance(event, events.ThinkingDelta))
        return last.model_copy(update={"text": text})
    deltas = [event for event in run if isinstance(event, events.AnswerDelta)]
    return deltas[-1].model_copy(
        update={
            "text": "".join(delta.text for delta in deltas),
            "tokens": tuple(token for delta in deltas for token in delta.tokens),
        }
    )
