"""A connection that hangs up on headers without an end, or that do not come; uvicorn's own waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MOST_HEADER_BYTES = 2 << 20
"""Far beyond what is let in, so that who sends a little too much is refused in its own dialect."""

HEAD_S = 30.0
"""Seconds that a client gets to send the head of a request, from when it connects or begins it."""

LINGER_S = 2
"""Seconds in which more is read and thrown away: hung up on at once, a client would not see the refusal."""


class Connection(HttpToolsProtocol):
    """uvicorn's own, with bounds on the bytes and the time of what is neither a whole head nor a body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_in_head = False
        self._num_bytes = 0
        """Since a head was whole, or some of a body came."""
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # else it is a trailer, which is of no use to anybody
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._num_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._num_bytes = 0
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        if self._num_bytes > MOST_HEADER_BYTES:
            return
        self._num_bytes += len(data)
        super().data_received(data)
        if self._num_bytes <= MOST_HEADER_BYTES or self.transport.is_closing():
            return
        if self._is_in_head:
            text = f"the headers are over {MOST_HEADER_BYTES} bytes"
            head = b"content-type: text/plain\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[431] + head + text.encode())
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _await_head(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
