"""HTTP connections with a time limit and a size limit for the head of a request.

uvicorn waits for a head without any limit; its `h11_max_incomplete_event_size` is for h11, which is slower.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD_BYTES = 2 << 20
"""Far above the limit of the middleware, which answers in the error format of the dialect."""

HEAD_TIMEOUT_S = 30.0
"""Seconds for the head of a request, from the connection's start or from the request's first byte."""

LINGER_S = 2
"""Seconds in which more data is read and discarded, so that the client can read the refusal."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, with limits for data that is neither a complete head nor a body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_in_head = False
        self._num_bytes = 0
        """Received since the last complete head or part of a body."""
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._start_head_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # trailers are dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._num_bytes = 0
        self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._num_bytes = 0
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        if self._num_bytes > MAX_HEAD_BYTES:
            return
        self._num_bytes += len(data)
        super().data_received(data)
        if self._num_bytes <= MAX_HEAD_BYTES or self.transport.is_closing():
            return
        if self._is_in_head:
            text = f"the headers are over {MAX_HEAD_BYTES} bytes"
            head = b"content-type: text/plain\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[431] + head + text.encode())
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
