"""One request on a connection of its own, and its response as it came: bytes, each piece with its time.

Nothing is read while it comes, so that the client costs as little as it can where it shares a machine with
the server, and delays nothing that it times. Knows HTTP, and nothing of what is said over it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request that was sent. Times are those of `time.perf_counter()`."""

    sent_s: float
    """When the connection was asked for."""
    pieces: list[tuple[float, bytes]]
    """What came, and when."""
    ended_s: float
    failure: str | None
    """Why there is no whole response, as a word: `unreachable`, `timed_out`, `broken`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response, taken apart."""

    status: int
    pieces: list[tuple[float, bytes]]
    """Of the body."""


class Target:
    """Where requests go."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout_s: float) -> None:
        """
        Args:
            url: of the server, `http://` or `https://`.
            timeout_s: how long a response may take.
        """
        parts = urlsplit(url)
        self._path = parts.path.rstrip("/")
        self._host, self._authority = parts.hostname or "", parts.netloc.rpartition("@")[2]
        self._tls = ssl.create_default_context() if parts.scheme.lower() == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._authorization = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout_s = timeout_s

    def request(self, path: str, body: bytes) -> bytes:
        """The bytes of a POST."""
        headers: Mapping[str, str] = {
            "Host": self._authority,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept": "text/event-stream",
            "Connection": "close",  # so that the end of the response is seen without reading it
            **self._authorization,
        }
        head = h11.Connection(h11.CLIENT).send(
            h11.Request(method="POST", target=f"{self._path}{path}", headers=[*headers.items()])
        )
        assert head is not None
        return head + body

    async def send(self, request: bytes) -> Exchange:
        """Send it and take in all that comes."""
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
        return Exchange(sent_s=sent_s, pieces=receiver.pieces, ended_s=time.perf_counter(), failure=failure)


class _Receiver(asyncio.Protocol):
    """Sends the request as soon as it is connected, and keeps what comes."""

    def __init__(self, request: bytes, ended: asyncio.Future[str | None]) -> None:
        self._request = request
        self._transport: asyncio.Transport | None = None
        self.pieces: list[tuple[float, bytes]] = []
        self.ended = ended
        """Why it broke off, or None."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.perf_counter(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None if exc is None else "broken")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def read_response(exchange: Exchange) -> Response | None:
    """Take it apart; None where nothing came that is HTTP."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", ""), ("Connection", "close")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, list[tuple[float, bytes]]()
    try:
        for at, piece in [*exchange.pieces, (exchange.ended_s, b"")]:
            connection.receive_data(piece)
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
        pass  # what came before counts
    return Response(status=status, pieces=body) if status else None
