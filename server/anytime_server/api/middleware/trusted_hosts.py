"""Refuses requests for other hosts, if a server without API keys serves its own machine alone.

Starlette's middleware of this name compares whole names: it knows neither the loopback addresses 127.0.0.0/8
and ::ffff:127.0.0.1 nor `localhost.`, checks only the first of several `Host` headers, and answers in text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from anytime_server.errors import AnytimeError, Forbidden

HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?))(?::[0-9]{1,5})?")


class TrustedHostMiddleware:
    """ASGI middleware: passes requests whose `Host` is localhost, a name under it, or a loopback address.

    With DNS rebinding, a web page points its own name at 127.0.0.1. Its requests are then of the same origin
    for the browser, and without API keys only the `Host` header gives them away, which no browser omits.
    """

    def __init__(self, app: ASGIApp, *, refuse: Callable[[Scope, AnytimeError], JSONResponse]) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosts = Headers(scope=scope).getlist("host") if scope["type"] == "http" else []
        untrusted = next((host for host in hosts if not _is_local(host)), None)
        if untrusted is None:
            await self._app(scope, receive, send)
            return
        error = Forbidden(
            "without API keys this server answers only at localhost and loopback addresses, not at "
            f"{untrusted!r}: start it with --keys, or with --allow-anonymous"
        )
        await self._refuse(scope, error)(scope, receive, send)


def _is_local(host: str) -> bool:
    """Whether a `Host` header, with or without a port, names this machine for every resolver."""
    if (found := HOST.fullmatch(host.lower())) is None:
        return False
    try:
        address = ip_address(found[1] or found[2])
    except ValueError:
        return found[1] is None and found[2].rstrip(".").rpartition(".")[2] == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
