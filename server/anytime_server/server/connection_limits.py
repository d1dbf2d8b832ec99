"""Limits on the open connections of a server, in total and for each address, and metrics of refusals."""

from __future__ import annotations

import logging
import ssl
import time
from collections import Counter
from typing import Any, Literal

import prometheus_client as prometheus

from anytime_server.auth import limited_address
from anytime_server.server.connection import Connection
from anytime_server.server.tls_connection import TlsConnection

logger = logging.getLogger("anytime.connections")

LOG_EVERY_S = 10.0
"""Seconds between log lines about refusals, each with a number, so that an attack does not fill the log."""


class ConnectionLimits:
    """Makes uvicorn's protocol for each connection. Knows nothing of what requests mean."""

    def __init__(
        self,
        *,
        max_connections: int = 4096,
        max_connections_per_address: int = 2048,
        receive_timeout_s: float = 30.0,
        max_head_bytes: int = 1 << 17,
        registry: prometheus.CollectorRegistry | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        Args:
            max_connections_per_address: an address is an IPv4 address, or a /64 network of IPv6.
            receive_timeout_s: seconds for the head of a request, and for its body, which gets more time as it
                makes progress.
            max_head_bytes: above this, a request is refused in plain text; below it, the application decides.
            registry: of the metrics.
            tls: of a server of HTTPS.
        """
        self.receive_timeout_s = receive_timeout_s
        self.max_head_bytes = max_head_bytes
        self._tls = tls
        self._max_total = max_connections
        self._max_per_address = max_connections_per_address
        self._open: Counter[str] = Counter()
        self._logged_at = -LOG_EVERY_S
        self._num_not_logged = 0
        gauge = prometheus.Gauge("anytime_connections", "Open connections of clients.", registry=registry)
        gauge.set_function(self._open.total)
        self._refused = prometheus.Counter(
            "anytime_connections_refused",
            "Connections over a limit: `total` or `address`.",
            ["limit"],
            registry=registry,
        )
        self._timeouts = prometheus.Counter(
            "anytime_receive_timeouts",
            "Requests whose `head` or `body` took too long, and TLS `handshake`s.",
            ["part"],
            registry=registry,
        )
        for limit in ("total", "address"):  # a series that exists from the start shows its first increase
            self._refused.labels(limit)
        for part in ("head", "body", "handshake"):
            self._timeouts.labels(part)

    def protocol(self, **kwargs: Any) -> Connection | TlsConnection:
        """A protocol for a new connection, from uvicorn's arguments."""
        connection = Connection(self, **kwargs)
        return connection if self._tls is None else TlsConnection(self, self._tls, connection)

    def admit(self, client: tuple[str, int] | None) -> bool:
        """Count a new connection, unless a limit is reached."""
        address = limited_address(client[0]) if client else ""
        if self._open.total() >= self._max_total:
            self._refuse("total", address)
        elif self._open[address] >= self._max_per_address:
            self._refuse("address", address)
        else:
            self._open[address] += 1
            return True
        return False

    def release(self, client: tuple[str, int] | None) -> None:
        """Count the end of a connection that was admitted."""
        address = limited_address(client[0]) if client else ""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def count_timeout(self, part: Literal["head", "body", "handshake"]) -> None:
        """Count a request of which a part took too long."""
        self._timeouts.labels(part).inc()

    def _refuse(self, limit: str, address: str) -> None:
        self._refused.labels(limit).inc()
        self._num_not_logged += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            logger.warning(
                "connections refused",
                extra={"limit": limit, "client": address, "count": self._num_not_logged},
            )
            self._logged_at, self._num_not_logged = now, 0
