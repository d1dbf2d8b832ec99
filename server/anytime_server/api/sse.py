"""From a session to an HTTP response, streamed or whole; who goes away ends the session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi import Request
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse

from anytime_server.api.openapi import AnytimeObject
from anytime_server.errors import SessionCancelled
from anytime_server.session import Session, events

KEEP_ALIVE_S = 5.0
"""Something is sent after so many seconds without an event, from the start on."""

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


Said = TypeVar("Said")


class Source(Protocol[Said]):
    """What is streamed: a session, or several as one."""

    def read(self, *, idle_s: float) -> AsyncGenerator[list[Said], None]:
        """Batches as they come; an empty one after so many seconds without any."""
        ...


def stream(
    source: Source[Said],
    encode: Callable[[Sequence[Said]], bytes | Awaitable[bytes]],
    *,
    request_id: str,
    keep_alive: bytes = KEEPALIVE_COMMENT,
) -> EventSourceResponse:
    """Server-sent events of a source.

    Args:
        encode: wire form of a batch that is not empty; may be empty itself.
        keep_alive: what is sent where nothing else is for a while.
    """

    async def chunks() -> AsyncGenerator[bytes, None]:
        async with aclosing(source.read(idle_s=KEEP_ALIVE_S)) as batches:
            sent_at = time.monotonic()
            async for batch in batches:
                encoded = encode(batch) if batch else b""
                wire = encoded if isinstance(encoded, bytes) else await encoded
                # What is said may not be shown; the connection is to be kept alive all the same.
                if not batch or (not wire and time.monotonic() - sent_at >= KEEP_ALIVE_S):
                    wire = keep_alive
                if wire:
                    yield wire
                    sent_at = time.monotonic()

    return EventSourceResponse(chunks(), headers={**STREAM_HEADERS, "X-Request-Id": request_id})


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All that a session said, once it has ended well."""

    model: str
    thinking: str
    answers: list[events.AnswerDone]
    """By the thinking that they are based on; the final one is the last."""
    tokens: list[events.AnswerToken]
    """Of the final answer, where they were asked for."""
    done: events.Done

    @classmethod
    def of(cls, said: Sequence[events.Event]) -> Transcript:
        started, done = said[0], said[-1]
        assert isinstance(started, events.Started)
        assert isinstance(done, events.Done)
        return cls(
            model=started.model,
            thinking="".join(event.text for event in said if isinstance(event, events.ThinkingDelta)),
            answers=sorted(
                (event for event in said if isinstance(event, events.AnswerDone)),
                key=lambda answer: (not answer.provisional, answer.at_tokens),
            ),
            tokens=[
                token
                for event in said
                if isinstance(event, events.AnswerDelta) and not event.provisional
                for token in event.tokens
            ],
            done=done,
        )


def anytime_object(done: events.Done) -> dict[str, Any]:
    """What other dialects cannot say, as they carry it."""
    told = AnytimeObject(stop=done.stop, timing=done.timing, usage=done.usage, continuation=done.continuation)
    return told.model_dump(mode="json")


async def collect(session: Session, request: Request) -> Transcript:
    """Wait for a session to end, and for what it said.

    Raises:
        AnytimeError: what ended it otherwise; `SessionCancelled` if the client went away.
    """
    ending = asyncio.create_task(session.ended())
    watching = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({ending, watching}, return_when=asyncio.FIRST_COMPLETED)
        if session.done is not None:
            return Transcript.of([event async for batch in session.read() for event in batch])
        raise session.error or SessionCancelled("the client went away")
    finally:
        watching.cancel()
        ending.cancel()
        session.abandon()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
