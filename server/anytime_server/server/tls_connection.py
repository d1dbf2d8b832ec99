"""A connection with TLS, which counts towards the limits before its handshake.

Given a TLS context, asyncio and uvloop make the protocol of a connection only after the handshake, for which
they wait a minute.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.utils import get_remote_addr

if TYPE_CHECKING:
    from anytime_server.server.connection import Connection
    from anytime_server.server.connection_limits import ConnectionLimits

CLOCK_S = 0.1
"""The event loop's timers may be this much early."""


class TlsConnection(SSLProtocol):
    """asyncio's TLS around the HTTP protocol of a connection."""

    def __init__(self, limits: ConnectionLimits, context: ssl.SSLContext, connection: Connection) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            connection,
            context,
            None,  # pyright: ignore[reportArgumentType]
            server_side=True,
            ssl_handshake_timeout=limits.receive_timeout_s,  # pyright: ignore[reportArgumentType]
        )
        self._limits = limits
        self._connection = connection
        self._client: tuple[str, int] | None = None
        self._is_counted = False
        self._began_at = time.monotonic()

    def connection_made(self, transport: Any) -> None:
        self._client = get_remote_addr(transport)
        if self._limits.admit(self._client):
            self._is_counted = True
            super().connection_made(transport)
        else:
            transport.abort()  # a refusal in plain text would be no TLS

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._is_counted:
            return
        self._limits.release(self._client)
        has_handshake = self._connection.transport is not None
        seconds = time.monotonic() - self._began_at
        if not has_handshake and seconds > self._limits.receive_timeout_s - CLOCK_S:
            self._limits.count_timeout("handshake")
        super().connection_lost(exc)
