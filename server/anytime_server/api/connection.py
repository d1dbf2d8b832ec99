"""A connection that hangs up on headers without an end; uvicorn's own would keep any number of bytes."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MOST_HEADER_BYTES = 2 << 20
"""Far beyond what is let in, so that who sends a little too much is refused in its own dialect."""

LINGER_S = 2
"""Seconds in which more is read and thrown away: hung up on at once, a client would not see the refusal."""


class Connection(HttpToolsProtocol):
    """uvicorn's own, with a bound on the bytes before the headers are over."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_in_headers = False
        self._num_header_bytes = 0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_headers = True
        self._num_header_bytes = 0

    def on_headers_complete(self) -> None:
        self._is_in_headers = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if self._num_header_bytes > MOST_HEADER_BYTES:
            return
        super().data_received(data)
        if not self._is_in_headers or self.transport.is_closing():
            return
        self._num_header_bytes += len(data)
        if self._num_header_bytes > MOST_HEADER_BYTES:
            text = f"the headers are over {MOST_HEADER_BYTES} bytes"
            head = b"content-type: text/plain\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[431] + head + text.encode())
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
