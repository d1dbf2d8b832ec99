"""From sessions to an HTTP response, streamed or whole; a client that disconnects ends its sessions."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from fastapi.responses import Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse
from pydantic_core import to_json

from anytime_server.errors import AnytimeError, SessionCancelled
from anytime_server.session import Session, events, read_sessions

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 5.0
"""Seconds without an event after which a keep-alive is sent, from the start of the stream."""

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Wire = TypeVar("Wire")


class Encoder(ABC, Generic[Wire]):
    """Turns the events of one response's sessions into a dialect's stream. Knows no scheduler.

    A whole response is the fold of the same stream, so that the two cannot differ.
    """

    keep_alive: bytes = KEEPALIVE_COMMENT
    """Sent where nothing else is for a while."""

    @abstractmethod
    def encode(self, index: int, event: events.Event) -> Iterable[Wire]:
        """Wire events for an event of the session with that index; may be none."""

    @abstractmethod
    def fold(self, stream: Iterable[Wire]) -> Any:
        """The body of a whole response, from a whole stream that went well; for `to_json`."""

    @abstractmethod
    def frame(self, wire: Wire) -> bytes:
        """A wire event as server-sent event."""


def named_event(wire: dict[str, Any]) -> bytes:
    """A server-sent event whose name is the `type` of its data."""
    return b"event: %s\ndata: %s\n\n" % (wire["type"].encode(), to_json(wire))


async def respond(
    sessions: Sequence[Session],
    encoder: Encoder[Any],
    *,
    streams: bool,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response of one request.

    Args:
        sessions: one for each choice.
        streams: server-sent events instead of one body.

    Raises:
        AnytimeError: what ended a session, where the response is not streamed.
    """
    headers = {"X-Request-Id": sessions[0].request.id, **(headers or {})}
    if streams:
        return EventSourceResponse(_stream(sessions, encoder), headers={**STREAM_HEADERS, **headers})
    await _all_done(sessions)
    stream: list[Any] = []
    async for batch in read_sessions(sessions):
        for index, event in batch:
            stream += encoder.encode(index, event)
    return Response(to_json(encoder.fold(stream)), media_type="application/json", headers=headers)


async def _stream(sessions: Sequence[Session], encoder: Encoder[Any]) -> AsyncGenerator[bytes, None]:
    """The server-sent events; ends in exactly one terminal event, also when the encoder fails."""
    async with aclosing(read_sessions(sessions, idle_s=KEEP_ALIVE_S)) as batches:
        sent_at = time.monotonic()
        async for batch in batches:
            frames, failed = frames_of(encoder, batch)
            data = b"".join(frames)
            # Events may have no wire form; the connection is kept alive all the same.
            if not batch or (not data and time.monotonic() - sent_at >= KEEP_ALIVE_S):
                data = encoder.keep_alive
            if data:
                yield data
                sent_at = time.monotonic()
            if failed:
                return


def frames_of(encoder: Encoder[Any], batch: Sequence[tuple[int, events.Event]]) -> tuple[list[bytes], bool]:
    """The server-sent events of a batch, and whether the encoder failed, which ends the stream."""
    frames: list[bytes] = []
    for index, event in batch:
        try:
            frames += [encoder.frame(wire) for wire in encoder.encode(index, event)]
        except Exception:
            logger.exception("a stream cannot be encoded")
            failure = events.Failed(error=AnytimeError("an unexpected error; the server's log has it"))
            return [*frames, *map(encoder.frame, encoder.encode(index, failure))], True
    return frames, False


async def _all_done(sessions: Sequence[Session]) -> None:
    """Wait until all sessions are done; the first failure, or being cancelled, ends all.

    Raises:
        AnytimeError: what ended one of them.
    """
    ending = {asyncio.create_task(session.ended()) for session in sessions}
    try:
        while ending:
            _, ending = await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
            for session in sessions:
                if session.phase == "ended" and session.done is None:
                    raise session.error or SessionCancelled("the session was cancelled")
    finally:
        for task in ending:
            task.cancel()
        for session in sessions:
            session.abandon()
