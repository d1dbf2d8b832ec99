"""The client for asyncio: sessions as asynchronous iterators. Its twin in `client.py` waits instead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx2

from anytime_client import calls
from anytime_client.calls import Call, Model
from anytime_client.endpoint import Endpoint
from anytime_client.errors import ClientError, TimedOut
from anytime_client.events import Event, Result
from anytime_client.line import Line, StreamState
from anytime_client.options import Messages, Options, body
from anytime_client.reception import Reception
from anytime_client.retrying import Deadline, Retries

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a session that is still streaming is cancelled by that."""
        await self._http.aclose()

    def think(
        self, messages: Messages, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> AsyncStream:
        """Ask. Nothing is sent before the stream is used: entered, iterated, or asked for its result.

        Args:
            messages: the user's message, or a conversation.
            timeout_s: how long the session may take, instead of the client's `timeout_s`.
            options: see `Options`.
        """
        reception, line = Reception(), Line()
        call = calls.think(body(messages, options))
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        events = self._events(call, timeout_s, reception, line)
        return AsyncStream(self, events, reception, line)

    async def answer_now(self, session_id: str) -> bool:
        """Stop the thinking of a session; False if it was answering already or had ended."""
        return await self._run(calls.answer_now(session_id))

    async def extend(self, session_id: str, tokens: int) -> int:
        """Let a session think for so many tokens more than it was to; the new budget in tokens.

        Raises:
            RequestRefused: the thinking is over.
        """
        return await self._run(calls.extend(session_id, tokens))

    async def cancel(self, session_id: str) -> None:
        """End a session; nothing happens if it had ended."""
        await self._run(calls.cancel(session_id))

    async def models(self) -> Sequence[Model]:
        """What the server serves."""
        return await self._run(calls.models())

    async def _run(self, call: Call[Outcome], deadline: Deadline | None = None) -> Outcome:
        deadline = deadline or Deadline(None)
        retries = Retries(self.max_retries)
        while True:
            try:
                with self._translating(deadline):
                    request = self._http.build_request(**self._request_options(call, deadline))
                    response = await self._http.send(request, stream=True)
                    if not (call.streams and response.is_success):
                        await response.aread()
                    return call.outcome(response)
            except ClientError as error:
                pause_s = retries.pause_s(error)
                if pause_s >= deadline.left_s:
                    raise
            await asyncio.sleep(pause_s)

    async def _events(
        self,
        call: Call[httpx2.Response],
        timeout_s: float | None,
        reception: Reception,
        line: Line,
    ) -> AsyncGenerator[Any]:
        """None as soon as the stream is open, then its events."""
        deadline = Deadline(timeout_s)
        try:
            response = await self._run(call, deadline)
            async with contextlib.aclosing(response):
                with _dropped_at(deadline, line):
                    line.connect(response)
                    yield None
                    with self._translating(deadline, reception.interrupted):
                        async for piece in response.aiter_bytes():
                            for event in reception.read(piece):
                                yield event
                            if reception.done is not None:
                                return
                        raise reception.interrupted("the stream ended before the answer was done")
        except ClientError as error:
            if isinstance(error, TimedOut) or not line.was_left:
                raise


class AsyncStream(StreamState, AsyncIterator[Event]):
    """A session: an asynchronous iterator of its events.

    In an `async with` it is cancelled on leaving early, and in any case where the task that iterates is.
    Without one the connection is closed by the event loop once nothing refers to the stream any more; the
    `async with` is the sure way. The controls may be used from other tasks than the one that iterates.
    """

    def __init__(
        self, client: AsyncClient, events: AsyncGenerator[Any], reception: Reception, line: Line
    ) -> None:
        super().__init__(reception, line)
        self._client = client
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
        await self._open()
        return await anext(self._events)

    async def result(self) -> Result:
        """Read to the end; the whole session.

        Raises:
            ClientError: any of the tree.
        """
        async for _ in self:
            pass
        return self._reception.result()

    async def answer_now(self) -> bool:
        """Stop the thinking; False if it was answering already or had ended.

        Raises:
            RuntimeError: `started` has not come.
        """
        return await self._client.answer_now(self._started_id())

    async def extend(self, tokens: int) -> int:
        """Let it think for so many tokens more than it was to; the new budget in tokens.

        Raises:
            RuntimeError: `started` has not come.
            RequestRefused: the thinking is over.
        """
        return await self._client.extend(self._started_id(), tokens)

    async def cancel(self) -> None:
        """End the session. Who iterates comes to the end without an error.

        Raises:
            RuntimeError: `started` has not come.
        """
        session_id, self._line.was_left = self._started_id(), True
        try:
            await self._client.cancel(session_id)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Drop the connection; a server cancels a session that nobody reads."""
        self._line.leave()
        with contextlib.suppress(RuntimeError):  # another task is just reading, and closes it on waking up
            await self._events.aclose()

    async def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            await anext(self._events, None)


@contextlib.contextmanager
def _dropped_at(deadline: Deadline, line: Line) -> Generator[None]:
    if not deadline.is_set:
        yield
        return
    timer = asyncio.get_running_loop().call_later(deadline.left_s, line.drop)
    try:
        yield
    finally:
        timer.cancel()
