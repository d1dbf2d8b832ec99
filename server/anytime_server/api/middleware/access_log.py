"""Logs and counts each HTTP request when it has ended."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.telemetry.metrics import Metrics

logger = logging.getLogger("anytime.access")

PROBES = frozenset({"/health", "/ready", "/ping", "/load", "/metrics"})
"""Paths that machines request every few seconds: logged at level `debug`."""


class AccessLogMiddleware:
    """ASGI middleware outside all that refuse requests, so that refused requests are logged too."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at, status = time.monotonic(), 500  # the status if the application raises

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._record(scope, status, time.monotonic() - began_at)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope.get("state", {})
        context, code = state.get("context"), state.get("error_code", "")
        if "refused_with" in state:  # by the connection; the application saw it as the client's end
            status, code = state["refused_with"], ""
        key = "" if context is None else context.client
        # The path template: paths that clients make up would be labels without end.
        template = getattr(scope.get("route"), "path", "unknown")
        self._metrics.observe_response(template, status, key=key, code=code)
        if context is not None and status < 400:
            self._metrics.observe_ignored(context.ignored.kinds)
        level = logging.DEBUG if scope["path"] in PROBES else logging.INFO
        if logger.isEnabledFor(level):
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "seconds": round(seconds, 4),
                "code": code or None,
                "request_id": None if context is None else context.request_id,
                "key": key or None,
                "client": scope["client"][0] if scope.get("client") else None,
            }
            logger.log(level, "request ended", extra=fields)
