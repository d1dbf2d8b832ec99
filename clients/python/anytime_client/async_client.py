"""The asyncio client: sessions as asynchronous iterators. `client.py` is its synchronous counterpart."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx2

from anytime_client import operations
from anytime_client.base_client import BaseClient
from anytime_client.base_stream import BaseStream
from anytime_client.connection import AsyncConnection
from anytime_client.errors import ClientError, StreamInterrupted
from anytime_client.events import Event, Result
from anytime_client.operations import Model, Operation
from anytime_client.options import Messages, Options
from anytime_client.reading import Body
from anytime_client.retry import Deadline, Retries
from anytime_client.stream_state import StreamState

Parsed = TypeVar("Parsed")


class AsyncClient(BaseClient):
    """A client of one server, for use within one event loop.

    >>> async def ask() -> Result:
    ...     async with AsyncClient("http://127.0.0.1:8000") as client:
    ...         return await client.think("What is 7 - 3 x 2 + 5 modulo 10?", budget=16).result()
    >>> result = asyncio.run(ask())
    >>> result.answer == result.answers[-1].text
    True
    """

    def _create_http_client(self) -> None:
        self._http = httpx2.AsyncClient(**self._http_options())
        self._connections = weakref.WeakSet[AsyncConnection]()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; the server cancels the sessions that are still streaming."""
        for connection in list(self._connections):
            await connection.abort()
        await self._http.aclose()

    def think(
        self, messages: Messages, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> AsyncStream:
        """Start a session, as `Client.think` does. The request is sent when the stream is first used."""
        state, connection = StreamState(), AsyncConnection()
        self._connections.add(connection)
        events = self._events(operations.think(messages, options), timeout_s, state, connection)
        return AsyncStream(self, events, state, connection)

    async def answer_now(self, session_id: str) -> bool:
        """Stop the thinking of a session; False if the session is answering already or has ended."""
        return await self._run(operations.answer_now(session_id))

    async def extend(self, session_id: str, tokens: int) -> int:
        """Raise the budget of a session by `tokens`; returns the new budget."""
        return await self._run(operations.extend(session_id, tokens))

    async def cancel(self, session_id: str) -> None:
        """Cancel a session; no error if it has ended already."""
        await self._run(operations.cancel(session_id))

    async def models(self) -> Sequence[Model]:
        """The models that the server serves."""
        return await self._run(operations.models())

    async def _run(
        self,
        operation: Operation[Parsed],
        deadline: Deadline | None = None,
        connection: AsyncConnection | None = None,
    ) -> Parsed:
        deadline, connection = deadline or self._deadline(None), connection or AsyncConnection()
        retries = Retries(self.max_retries, deadline)
        while True:
            if connection.aborted.is_set():
                raise StreamInterrupted("the stream was closed before it was open")
            try:
                with self._translating_errors(deadline):
                    options = self._request_options(operation, deadline, self._silence_timeout_s)
                    async with asyncio.timeout(self._response_deadline(deadline).timeout_s):
                        response = await self._http.send(self._http.build_request(**options), stream=True)
                        if not (operation.streams and response.is_success):
                            response = await _read(response)
                    return operation.parse(response)
            except ClientError as error:
                delay_s = retries.delay_s(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await connection.aborted.wait()

    async def _events(
        self,
        operation: Operation[httpx2.Response],
        timeout_s: float | None,
        state: StreamState,
        connection: AsyncConnection,
    ) -> AsyncGenerator[Any]:
        """Yields None as soon as the stream is open, then its events."""
        deadline = self._deadline(timeout_s)
        with self._recording_failure(state, connection):
            response = await self._run(operation, deadline, connection)
            async with connection.reading(response, deadline) as chunks:
                yield None
                with self._translating_errors(deadline, state.interrupted):
                    async for chunk in chunks:
                        for event in state.feed(chunk):
                            yield event
                        if state.done is not None:
                            return
                    raise state.interrupted("the stream ended before the answer was done")


async def _read(response: httpx2.Response) -> httpx2.Response:
    """The response with its body, or the beginning of it."""
    body = Body()
    async with contextlib.aclosing(response):
        async for chunk in response.aiter_bytes():
            if not body.add(chunk):
                break
    return body.of(response)


class AsyncStream(BaseStream, AsyncIterator[Event]):
    """A session, as an asynchronous iterator of its events.

    Leaving an `async with` block early cancels the session; so does cancelling the task that iterates.
    Without an `async with` block the event loop closes the connection when the stream is garbage-collected;
    the block is the reliable way. Other tasks than the one that iterates may call the methods, which raise
    the same errors as those of `Stream`.
    """

    def __init__(
        self,
        client: AsyncClient,
        events: AsyncGenerator[Any],
        state: StreamState,
        connection: AsyncConnection,
    ) -> None:
        super().__init__(state)
        self._client = client
        self._connection = connection
        # The generator must not refer to the stream: the cycle would delay closing a stream that is dropped.
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
        """Read the stream to its end and return the whole session."""
        async for _ in self:
            pass
        return self._state.result()

    async def answer_now(self) -> bool:
        """Stop the thinking; False if the session is answering already or has ended."""
        return await self._client.answer_now(self._started_id())

    async def extend(self, tokens: int) -> int:
        """Raise the budget by `tokens`; returns the new budget."""
        return await self._client.extend(self._started_id(), tokens)

    async def cancel(self) -> None:
        """Cancel the session. The iteration ends without an error."""
        session_id = self._started_id()
        self._connection.aborted.set()
        try:
            await self._client.cancel(session_id)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; the server cancels the session. The iteration ends without an error."""
        await self._connection.abort()
        with contextlib.suppress(RuntimeError):  # the task that reads will close it
            await self._events.aclose()

    async def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            await anext(self._events, None)
