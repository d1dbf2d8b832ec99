"""Limits of what is read from a server: the time of a read, and the size of a body that is kept in memory.

The HTTP library limits the silence before each byte, not the time of a response that comes byte by byte.
"""

from __future__ import annotations

from ssl import SSLContext
from typing import Any

import httpcore2
import httpx2

from anytime_client.retry import Deadline

MAX_BODY_BYTES = 2**24
"""The rest of a longer body, other than a stream's, is not read."""
SHORTEST_READ_S = 0.001
"""A socket with a time-out of 0 would not wait at all."""


class ReadTimeout(float):
    """Seconds of silence before a read fails; it also fails at a deadline."""

    deadline: Deadline

    def __new__(cls, silence_s: float, deadline: Deadline) -> ReadTimeout:
        self = super().__new__(cls, max(min(silence_s, deadline.remaining_s), SHORTEST_READ_S))
        self.deadline = deadline
        return self

    @property
    def remaining_s(self) -> float:
        return max(min(self, self.deadline.remaining_s), SHORTEST_READ_S)


def client_with_deadlines(**options: Any) -> httpx2.Client:
    """An HTTP client whose reads end at the deadline of their `ReadTimeout`."""
    client = httpx2.Client(**options)
    for transport in (client._transport, *client._mounts.values()):  # pyright: ignore[reportPrivateUsage]
        if isinstance(transport, httpx2.HTTPTransport):
            transport._pool._network_backend = _Backend()  # pyright: ignore[reportPrivateUsage]
    return client


class _Backend(httpcore2.SyncBackend):
    def connect_tcp(self, *arguments: Any, **options: Any) -> httpcore2.NetworkStream:
        return _Stream(super().connect_tcp(*arguments, **options))


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if isinstance(timeout, ReadTimeout):
            timeout = timeout.remaining_s
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Body:
    """The beginning of a body, at most `MAX_BODY_BYTES`."""

    def __init__(self) -> None:
        self._content = bytearray()

    def add(self, chunk: bytes) -> bool:
        """Add a chunk; returns whether there is room for more."""
        self._content += chunk[: MAX_BODY_BYTES - len(self._content)]
        return len(self._content) < MAX_BODY_BYTES

    def of(self, response: httpx2.Response) -> httpx2.Response:
        """The response with this body."""
        headers = response.headers.copy()
        for name in ("Content-Encoding", "Content-Length", "Transfer-Encoding"):
            headers.pop(name, None)
        return httpx2.Response(
            response.status_code, headers=headers, content=bytes(self._content), request=response.request
        )
