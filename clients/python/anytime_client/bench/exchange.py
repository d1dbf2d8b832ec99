"""One request on a connection of its own, and the raw bytes of its response, each chunk with its time.

Nothing is parsed during a run: the client takes as little as possible from a server on the same machine, and
does not delay what it times. Knows HTTP, but nothing about the content.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

MAX_RESPONSE_BYTES = 2**26
"""A longer response is aborted: all bytes are kept until the end of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request that was sent. Times are those of `time.perf_counter()`."""

    sent_s: float
    """Time at which the client began to connect."""
    chunks: list[tuple[float, bytes]]
    """The bytes received, each chunk with its time."""
    ended_s: float
    failure: str | None
    """`unreachable`, `timed_out`, `too_long` or `broken`; None if the response is complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A parsed response."""

    status: int
    body: list[tuple[float, bytes]]
    """The chunks of the body, each with its time."""


class Target:
    """The server that requests are sent to."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout_s: float) -> None:
        """
        Args:
            url: address of the server, `http://` or `https://`.
            timeout_s: maximum seconds per request.
        """
        parts = urlsplit(url)
        self._path = parts.path.rstrip("/")
        self._host, self._authority = parts.hostname or "", parts.netloc.rpartition("@")[2]
        self._tls = ssl.create_default_context() if parts.scheme.lower() == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._authorization = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout_s = timeout_s

    def request(self, path: str, body: bytes) -> bytes:
        """The bytes of a POST request."""
        headers: Mapping[str, str] = {
            "Host": self._authority,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept": "text/event-stream",
            "Connection": "close",  # the end of the response is then visible without parsing it
            **self._authorization,
        }
        head = h11.Connection(h11.CLIENT).send(
            h11.Request(method="POST", target=f"{self._path}{path}", headers=[*headers.items()])
        )
        assert head is not None
        return head + body

    async def send(self, request: bytes) -> Exchange:
        """Send a request and receive its response."""
        loop, sent_s = asyncio.get_running_loop(), time.perf_counter()
        receiver = _Receiver(request, loop.create_future())
        failure = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await loop.create_connection(lambda: receiver, self._host, self._port, ssl=self._tls)
                failure = await receiver.ended
        except TimeoutError:
            failure = "timed_out"
        except OSError:
            failure = "unreachable"
        finally:
            receiver.abort()
        return Exchange(sent_s=sent_s, chunks=receiver.chunks, ended_s=time.perf_counter(), failure=failure)


class _Receiver(asyncio.Protocol):
    """Sends the request once connected, and stores what it receives."""

    def __init__(self, request: bytes, ended: asyncio.Future[str | None]) -> None:
        self._request = request
        self._transport: asyncio.Transport | None = None
        self.chunks: list[tuple[float, bytes]] = []
        self._room_bytes = MAX_RESPONSE_BYTES
        self.ended = ended
        """Resolves when the connection is closed: to the failure, or None."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.chunks.append((time.perf_counter(), data))
        self._room_bytes -= len(data)
        if self._room_bytes < 0 and not self.ended.done():
            self.ended.set_result("too_long")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None if exc is None else "broken")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def parse_response(exchange: Exchange) -> Response | None:
    """Parse the response; None if nothing received is HTTP."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", ""), ("Connection", "close")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, list[tuple[float, bytes]]()
    try:
        for at, chunk in [*exchange.chunks, (exchange.ended_s, b"")]:
            connection.receive_data(chunk)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                match event:
                    case h11.Response():
                        status = event.status_code
                    case h11.Data():
                        body.append((at, bytes(event.data)))
                    case h11.InformationalResponse():
                        continue
                    case _:
                        break
    except h11.RemoteProtocolError:
        pass  # keep what was parsed before
    return Response(status=status, body=body) if status else None
