"""Refuses what was addressed to another host, where a server is for its own machine alone."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from anytime_server.errors import AnytimeError, Forbidden


class OwnHosts:
    """ASGI middleware: takes only requests whose `Host` is localhost, under it, or a loopback address.

    A page can have the name that it came from lead to 127.0.0.1 (DNS rebinding). What it asks then is of the
    same origin to its browser, and without API keys only the `Host` header gives it away.
    """

    def __init__(self, app: ASGIApp, *, refuse: Callable[[Scope, AnytimeError], JSONResponse]) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else ""
        if not host or _is_own(host):  # browsers always send one
            await self._app(scope, receive, send)
            return
        error = Forbidden(
            "without API keys this server answers to localhost and to loopback addresses, not to "
            f"{host!r}: start it with --keys, or with --allow-anonymous"
        )
        await self._refuse(scope, error)(scope, receive, send)


def _is_own(host: str) -> bool:
    """Whether a `Host` header, with its port or without, means this machine whoever resolves it."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost" or name.lower().endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
