"""The client for asyncio: sessions as asynchronous iterators. Its twin in `client.py` waits instead."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx2

from anytime_client import calls
from anytime_client.calls import Call, Model
from anytime_client.connection import AsyncConnection
from anytime_client.endpoint import Endpoint
from anytime_client.errors import ClientError, StreamInterrupted
from anytime_client.events import Event, Result
from anytime_client.options import Messages, Options
from anytime_client.reception import Reception
from anytime_client.retrying import Deadline, Retries
from anytime_client.session import Session

Outcome = TypeVar("Outcome")


class AsyncClient(Endpoint):
    """Talks to one server, within one event loop.

    >>> async def ask() -> Result:
    ...     async with AsyncClient("http://127.0.0.1:8000") as client:
    ...         return await client.think("What is 7 - 3 x 2 + 5 modulo 10?", budget=16).result()
    >>> result = asyncio.run(ask())
    >>> result.answer == result.answers[-1].text
    True
    """

    def _prepare(self) -> None:
        self._http = httpx2.AsyncClient(**self._http_options())
        self._connections = weakref.WeakSet[AsyncConnection]()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a session that is still streaming is cancelled by that."""
        for connection in list(self._connections):
            await connection.leave()
        await self._http.aclose()

    def think(
        self, messages: Messages, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> AsyncStream:
        """Ask, as `Client.think`. Nothing is sent before the stream is used."""
        reception, connection = Reception(), AsyncConnection()
        self._connections.add(connection)
        events = self._events(calls.think(messages, options), timeout_s, reception, connection)
        return AsyncStream(self, events, reception, connection)

    async def answer_now(self, session_id: str) -> bool:
        """Stop the thinking of a session; False if it was answering already or had ended."""
        return await self._run(calls.answer_now(session_id))

    async def extend(self, session_id: str, tokens: int) -> int:
        """Let a session think for so many tokens more than it was to; the new budget in tokens."""
        return await self._run(calls.extend(session_id, tokens))

    async def cancel(self, session_id: str) -> None:
        """End a session; nothing happens if it had ended."""
        await self._run(calls.cancel(session_id))

    async def models(self) -> Sequence[Model]:
        """What the server serves."""
        return await self._run(calls.models())

    async def _run(
        self,
        call: Call[Outcome],
        deadline: Deadline | None = None,
        connection: AsyncConnection | None = None,
    ) -> Outcome:
        deadline, connection = deadline or Deadline(None), connection or AsyncConnection()
        retries = Retries(self.max_retries, deadline)
        while True:
            if connection.left.is_set():
                raise StreamInterrupted("the stream was left before it was open")
            try:
                with self._translating(deadline):
                    request = self._http.build_request(**self._request_options(call, deadline))
                    response = await self._http.send(request, stream=True)
                    if not (call.streams and response.is_success):
                        await response.aread()
                    return call.outcome(response)
            except ClientError as error:
                pause_s = retries.pause_s(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await connection.left.wait()

    async def _events(
        self,
        call: Call[httpx2.Response],
        timeout_s: float | None,
        reception: Reception,
        connection: AsyncConnection,
    ) -> AsyncGenerator[Any]:
        """None as soon as the stream is open, then its events."""
        deadline = self._deadline(timeout_s)
        with self._noting_failure(reception, connection):
            response = await self._run(call, deadline, connection)
            async with connection.carrying(response, deadline) as pieces:
                yield None
                with self._translating(deadline, reception.interrupted):
                    async for piece in pieces:
                        for event in reception.read(piece):
                            yield event
                        if reception.done is not None:
                            return
                    raise reception.interrupted("the stream ended before the answer was done")


class AsyncStream(Session, AsyncIterator[Event]):
    """A session: an asynchronous iterator of its events.

    In an `async with` it is cancelled on leaving early, and in any case where the task that iterates is.
    Without one the connection is closed by the event loop once nothing refers to the stream any more; the
    `async with` is the sure way. The controls may be used from other tasks than the one that iterates, and
    raise what those of `Stream` do.
    """

    def __init__(
        self,
        client: AsyncClient,
        events: AsyncGenerator[Any],
        reception: Reception,
        connection: AsyncConnection,
    ) -> None:
        super().__init__(reception)
        self._client = client
        self._connection = connection
        # It must not refer to the stream: then it would not be closed as soon as the stream is dropped.
        self._events = events
        self._is_open = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        self._raise_failure()
        await self._open()
        return await anext(self._events)

    async def result(self) -> Result:
        """Read to the end; the whole session."""
        async for _ in self:
            pass
        return self._reception.result()

    async def answer_now(self) -> bool:
        """Stop the thinking; False if it was answering already or had ended."""
        return await self._client.answer_now(self._started_id())

    async def extend(self, tokens: int) -> int:
        """Let it think for so many tokens more than it was to; the new budget in tokens."""
        return await self._client.extend(self._started_id(), tokens)

    async def cancel(self) -> None:
        """End the session. Who iterates comes to the end without an error."""
        session_id = self._started_id()
        self._connection.left.set()
        try:
            await self._client.cancel(session_id)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Drop the connection; a server cancels a session that nobody reads."""
        await self._connection.leave()
        with contextlib.suppress(RuntimeError):  # another task is just reading, and closes it on waking up
            await self._events.aclose()

    async def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            await anext(self._events, None)
