"""Refuses what was addressed to another host, where a server is for its own machine alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from anytime_server.errors import AnytimeError, Forbidden

HOST = re.compile(
    r"(?:(?P<ipv4>[0-9.]+)|\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?))(?::[0-9]{1,5})?"
)


class TrustedHostMiddleware:
    """ASGI middleware: takes only requests whose `Host` is localhost, under it, or a loopback address.

    A page can have the name that it came from lead to 127.0.0.1 (DNS rebinding). What it asks then is of the
    same origin to its browser, and without API keys only the `Host` header gives it away.
    """

    def __init__(self, app: ASGIApp, *, refuse: Callable[[Scope, AnytimeError], JSONResponse]) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosts = Headers(scope=scope).getlist("host") if scope["type"] == "http" else []
        host = next((host for host in hosts if not _is_own(host)), None)
        if host is None:  # or there is none at all, which no browser sends
            await self._app(scope, receive, send)
            return
        error = Forbidden(
            "without API keys this server answers to localhost and to loopback addresses, not to "
            f"{host!r}: start it with --keys, or with --allow-anonymous"
        )
        await self._refuse(scope, error)(scope, receive, send)


def _is_own(host: str) -> bool:
    """Whether a `Host` header, with its port or without, means this machine whoever resolves it."""
    if (found := HOST.fullmatch(host.lower())) is None:
        return False
    if (name := found["name"]) is not None:
        return name.rstrip(".").rpartition(".")[2] == "localhost"
    try:
        address = ip_address(found["ipv4"] or found["ipv6"])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
