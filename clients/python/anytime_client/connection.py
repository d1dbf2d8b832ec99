"""The connection under a stream, sync and async: read by one thread or task, left by any.

Knows nothing of what comes over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import httpx2

from anytime_client.retrying import Deadline


class Connection:
    """One that a thread waits on."""

    def __init__(self) -> None:
        self.left = threading.Event()
        """By its own user: that it breaks off then is no error."""
        self._socket: socket.socket | None = None
        self._changes = threading.Lock()

    @contextlib.contextmanager
    def carrying(self, response: httpx2.Response, deadline: Deadline) -> Generator[Iterator[bytes]]:
        """The pieces of the response that comes over it, until it is left or the deadline has passed."""
        assert isinstance(response.stream, httpx2.SyncByteStream)
        with contextlib.closing(response), self._holding(response), self._dropped_at(deadline):
            # Not `response.iter_bytes()`, which hands the connection to others as it ends: it is still held.
            yield iter(response.stream)

    def leave(self) -> None:
        """Drop it because nobody wants to hear the rest; who waits on it wakes up."""
        self.left.set()
        self._drop()

    @contextlib.contextmanager
    def _holding(self, response: httpx2.Response) -> Generator[None]:
        with self._changes:
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
        try:
            if self.left.is_set():
                self._drop()
            yield
        finally:
            with self._changes:
                self._socket = None

    @contextlib.contextmanager
    def _dropped_at(self, deadline: Deadline) -> Generator[None]:
        if not deadline.is_set:
            yield
            return
        timer = threading.Timer(deadline.left_s, self._drop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _drop(self) -> None:
        with self._changes:
            if self._socket is not None:
                # Closing it would not wake a thread that reads from it.
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class AsyncConnection:
    """One that a task waits on."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        """By its own user: that it breaks off then is no error."""
        self._network_stream: Any = None

    @contextlib.asynccontextmanager
    async def carrying(
        self, response: httpx2.Response, deadline: Deadline
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The pieces of the response that comes over it, until it is left or the deadline has passed."""
        async with contextlib.aclosing(response):
            self._network_stream = response.extensions["network_stream"]
            try:
                if self.left.is_set():
                    await self.leave()
                yield _within(deadline, response)
            finally:
                self._network_stream = None

    async def leave(self) -> None:
        """Drop it because nobody wants to hear the rest; who waits on it wakes up."""
        self.left.set()
        if self._network_stream is not None:
            await self._network_stream.aclose()


async def _within(deadline: Deadline, response: httpx2.Response) -> AsyncGenerator[bytes]:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    # Not `response.aiter_bytes()`, which hands the connection to others as it ends: it is still held.
    pieces = aiter(response.stream)
    while True:
        async with asyncio.timeout(deadline.left_s if deadline.is_set else None):
            piece = await anext(pieces, None)
        if piece is None:
            return
        yield piece
