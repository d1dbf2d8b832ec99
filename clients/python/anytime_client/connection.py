"""The connection of a stream, sync and async: one thread or task reads it, any may abort it.

Knows nothing about the content of the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import httpx2

from anytime_client.retry import Deadline


class Connection:
    """A connection that a thread reads."""

    def __init__(self) -> None:
        self.aborted = threading.Event()
        """Set when the caller closes the stream: the broken read that follows is not an error."""
        self._socket: socket.socket | None = None
        self._socket_lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self, response: httpx2.Response) -> Generator[Iterator[bytes]]:
        """The chunks of the body; they end when the connection is aborted."""
        assert isinstance(response.stream, httpx2.SyncByteStream)
        with contextlib.closing(response), self._attached(response):
            # Not `response.iter_bytes()`: at its end it returns the connection to the pool while
            # `self._socket` still refers to it.
            yield iter(response.stream)

    def abort(self) -> None:
        """Close the connection on the caller's request, and wake the thread that reads it."""
        self.aborted.set()
        self._shut_down()

    @contextlib.contextmanager
    def _attached(self, response: httpx2.Response) -> Generator[None]:
        with self._socket_lock:
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
        try:
            if self.aborted.is_set():
                self._shut_down()
            yield
        finally:
            with self._socket_lock:
                self._socket = None

    def _shut_down(self) -> None:
        with self._socket_lock:
            if self._socket is not None:
                # Closing the socket would not wake a thread that reads from it.
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class AsyncConnection:
    """A connection that a task reads."""

    def __init__(self) -> None:
        self.aborted = asyncio.Event()
        """Set when the caller closes the stream: the broken read that follows is not an error."""
        self._network_stream: Any = None

    @contextlib.asynccontextmanager
    async def reading(
        self, response: httpx2.Response, deadline: Deadline
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The chunks of the body; they end when the connection is aborted or the deadline passes."""
        async with contextlib.aclosing(response):
            self._network_stream = response.extensions["network_stream"]
            try:
                if self.aborted.is_set():
                    await self.abort()
                yield _chunks_until(deadline, response)
            finally:
                self._network_stream = None

    async def abort(self) -> None:
        """Close the connection on the caller's request, and wake the task that reads it."""
        self.aborted.set()
        if self._network_stream is not None:
            await self._network_stream.aclose()


async def _chunks_until(deadline: Deadline, response: httpx2.Response) -> AsyncGenerator[bytes]:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    # Not `response.aiter_bytes()`: at its end it returns the connection to the pool while
    # `AsyncConnection` still refers to it.
    chunks = aiter(response.stream)
    while True:
        async with asyncio.timeout(deadline.timeout_s):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk
