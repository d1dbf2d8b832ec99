"""One HTTP/1 connection: one request at a time, and a time limit for each part of a request.

uvicorn's httptools protocol queues requests without a limit, drops the body of a request with an `Upgrade`
header, waits without a limit, and sends chunks to clients of HTTP/1.0. This module knows no dialects, so
refusals are plain text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_remote_addr, is_ssl

if TYPE_CHECKING:
    from anytime_server.server.connection_limits import ConnectionLimits

MAX_HEADERS = 1000
MAX_URL_BYTES = (1 << 16) - 1
"""The limit of httptools."""

MAX_DISCARDED_BYTES = 32 << 20
"""Bytes that are discarded of the body of a refused request, so that a client that is still sending gets the
refusal instead of a broken connection."""

MAX_HELD_BYTES = 1 << 16
"""Bytes beyond the current request above which no more are read."""

BODY_BYTES_PER_S = 1024
"""A body gets one more second for this number of its bytes."""

LINGER_S = 2
"""Seconds in which more data is read and discarded, so that the client can read the refusal."""

END_OF_HEAD = b"\r\n\r\n"
FRAMING_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


class _FlowControl(FlowControl):
    """Does not resume reading, as uvicorn does with each request, while enough is held."""

    def __init__(self, transport: asyncio.Transport, held: bytearray) -> None:
        super().__init__(transport)
        self._held = held

    def resume_reading(self) -> None:
        if len(self._held) <= MAX_HELD_BYTES:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which parses a request only when the one before it has been answered."""

    def __init__(self, limits: ConnectionLimits, **kwargs: Any) -> None:
        """
        Args:
            kwargs: what uvicorn passes to a protocol.
        """
        super().__init__(**kwargs)
        self._limits = limits
        self._is_counted = False
        self._held = bytearray()
        """Received and not parsed yet."""
        self._num_bytes = 0
        """Parsed since the last complete head or part of a body."""
        self._is_in_head = False
        self._ignores_upgrade = False
        self._repeats_head = False
        self._is_refused = False
        self._body_bytes_left = 0
        """Of a body with a `Content-Length`."""
        self._body_bytes = 0
        self._body_began_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.client = get_remote_addr(transport)
        if is_ssl(transport):
            pass  # `TlsConnection` counts it
        elif self._limits.admit(self.client):
            self._is_counted = True
        else:
            self.transport = transport
            self._is_refused = True
            self._write_refusal(503, "too many connections")
            transport.close()
            return
        super().connection_made(transport)
        self.flow = _FlowControl(transport, self._held)
        self._start_timer(self._head_timed_out)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._is_counted:
            self._limits.release(self.client)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._is_refused:
            self._held += data
            self._parse()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._parse()
        self.flow.resume_reading()

    def _parse(self) -> None:
        """Parse up to the end of the current request."""
        while not (self._is_refused or self.transport.is_closing() or self._is_answering()):
            if not (piece := self._next_piece()):
                return
            self._num_bytes += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                if not self._is_refused:
                    self._read_body_in_spite_of_upgrade()
            except httptools.HttpParserError:
                self._refuse(400, "invalid HTTP request")
            if self._num_bytes > self._limits.max_head_bytes:
                self._refuse(*self._too_large())
        if len(self._held) > MAX_HELD_BYTES:
            self.flow.pause_reading()

    def _is_answering(self) -> bool:
        """Whether the current request is complete and its response is not."""
        return self.cycle is not None and not (self.cycle.response_complete or self.cycle.more_body)

    def _next_piece(self) -> bytes:
        """Take held data that ends where a head, a body or a chunked body ends, if its end is there.

        Without that end, it leaves what may be the beginning of the end.
        """
        if self._body_bytes_left:
            size = min(self._body_bytes_left, len(self._held))
        elif (found := self._held.find(END_OF_HEAD)) >= 0:
            size = found + len(END_OF_HEAD)
        else:
            last = self._held[1 - len(END_OF_HEAD) :]
            size = len(self._held) - (len(last) - len(last.rstrip(b"\r\n")))
        piece = bytes(self._held[:size])
        del self._held[:size]
        return piece

    def _read_body_in_spite_of_upgrade(self) -> None:
        """Repeat the head without `Upgrade` to a new parser: the old one expects another protocol now."""
        framing = [b"%b: %b\r\n" % header for header in self.headers if header[0] in FRAMING_HEADERS]
        self._ignores_upgrade = False
        self._repeats_head = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self._repeats_head = False

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        if not self._repeats_head:
            super().on_message_begin()
            self.cycle = None  # pyright: ignore[reportAttributeAccessIssue]
            self._is_in_head = True
            self._unset_keepalive_if_required()
            self._start_timer(self._head_timed_out)

    def on_url(self, url: bytes) -> None:
        if not self._repeats_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head and len(self.headers) <= MAX_HEADERS:  # trailers are dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._repeats_head:
            return
        self._is_in_head = False
        self._stop_timer()
        if (refusal := self._reason_to_refuse()) is not None:
            self._refuse(*refusal)
            return
        self._num_bytes = 0
        super().on_headers_complete()
        if self.parser.get_http_version() == "1.0":
            _end_by_close(self.cycle)
        self._ignores_upgrade = self.parser.should_upgrade()
        self._body_bytes_left = next(
            (int(value) for name, value in self.headers if name == b"content-length"), 0
        )
        self._body_bytes = 0
        self._body_began_at = time.monotonic()
        self._start_timer(self._check_body_rate)

    def on_body(self, body: bytes) -> None:
        self._num_bytes = 0
        self._body_bytes += len(body)
        self._body_bytes_left = max(0, self._body_bytes_left - len(body))
        super().on_body(body)
        if self.cycle.response_complete and self._body_bytes > MAX_DISCARDED_BYTES:
            self._refuse(413, "the body is too large")

    def on_message_complete(self) -> None:
        if not (self._ignores_upgrade or self._is_refused):
            self._stop_timer()
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return False

    # Time limits

    def _start_timer(self, callback: Callable[[], None], seconds: float | None = None) -> None:
        self._stop_timer()
        if seconds is None:
            seconds = self._limits.receive_timeout_s
        self._timer = self.loop.call_later(seconds, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_timed_out(self) -> None:
        self._limits.count_timeout("head")
        self.transport.close()

    def _check_body_rate(self) -> None:
        limit_s = self._limits.receive_timeout_s + self._body_bytes / BODY_BYTES_PER_S
        left_s = limit_s - (time.monotonic() - self._body_began_at)
        if left_s > 0:
            self._start_timer(self._check_body_rate, left_s)
        else:
            self._limits.count_timeout("body")
            self._refuse(408, "the body took too long")

    # Refusals

    def _reason_to_refuse(self) -> tuple[int, str] | None:
        """Status and text, if the request has a form that others may read differently."""
        version = self.parser.get_http_version()
        encodings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if version not in ("1.0", "1.1"):
            return 505, "the only supported versions of HTTP are 1.0 and 1.1"
        if self.parser.get_method() == b"CONNECT":
            return 501, "CONNECT is not supported"
        if encodings and (encodings != [b"chunked"] or version == "1.0"):
            return 501, "the only supported Transfer-Encoding is chunked, in HTTP/1.1"
        if len(self.url) > MAX_URL_BYTES:
            return 414, f"the URL is over {MAX_URL_BYTES} bytes"
        if len(self.headers) > MAX_HEADERS:
            return 431, f"there are over {MAX_HEADERS} headers"
        return self._too_large() if self._num_bytes > self._limits.max_head_bytes else None

    def _too_large(self) -> tuple[int, str]:
        return 431, f"the headers are over {self._limits.max_head_bytes} bytes"

    def _refuse(self, status: int, text: str) -> None:
        """Close the connection, after a refusal if no response has begun; discard what else arrives."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._held.clear()
        self._stop_timer()
        has_begun = self.cycle is not None and self.cycle.response_started
        if self.cycle is not None:
            if not has_begun:
                self.scope.setdefault("state", {})["refused_with"] = status  # for the access log
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if has_begun:
            self.transport.close()
            return
        self._write_refusal(status, text)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _write_refusal(self, status: int, text: str) -> None:
        head = f"content-type: text/plain\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + text.encode())


def _end_by_close(cycle: RequestResponseCycle) -> None:
    """Make the end of the connection the end of the body, since HTTP/1.0 knows no chunks."""
    cycle.chunked_encoding = False
    send = cycle.send

    async def send_unframed(message: Any) -> None:
        if message["type"] == "http.response.body":
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_unframed
