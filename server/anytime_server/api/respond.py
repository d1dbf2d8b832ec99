"""From a session to an HTTP response, streamed or whole; who goes away ends the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from fastapi import Request
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse

from anytime_server import events
from anytime_server.errors import SessionCancelled
from anytime_server.session import Session

KEEP_ALIVE_S = 5.0
"""A comment is sent after so many seconds without an event, from the start on."""

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def stream(session: Session, encode: Callable[[Sequence[events.Event]], bytes]) -> EventSourceResponse:
    """Server-sent events of a session.

    Args:
        encode: wire form of a batch of events, which may be empty bytes.
    """

    async def chunks() -> AsyncGenerator[bytes, None]:
        async with aclosing(session.read(idle_s=KEEP_ALIVE_S)) as batches:
            async for batch in batches:
                if not batch:
                    yield KEEPALIVE_COMMENT
                elif wire := encode(batch):
                    yield wire

    return EventSourceResponse(chunks(), headers={**STREAM_HEADERS, "X-Request-Id": session.request.id})


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All that a session said, once it has ended well."""

    model: str
    thinking: str
    answers: list[events.AnswerDone]
    """The final one is the last."""
    done: events.Done

    @classmethod
    def of(cls, said: Sequence[events.Event]) -> Transcript:
        started, done = said[0], said[-1]
        assert isinstance(started, events.Started)
        assert isinstance(done, events.Done)
        return cls(
            model=started.model,
            thinking="".join(event.text for event in said if isinstance(event, events.ThinkingDelta)),
            answers=[event for event in said if isinstance(event, events.AnswerDone)],
            done=done,
        )


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
