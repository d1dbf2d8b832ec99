"""A line in the log and a count in the metrics for each HTTP request, at its end."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.telemetry.metrics import Metrics

logger = logging.getLogger("anytime.access")

PROBES = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds, by machines: told at the level `debug`."""


class AccessLog:
    """ASGI middleware, around all others: what they refuse is told, too."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at, status = time.monotonic(), 500  # as is answered where the application fails

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            self._tell(scope, status, time.monotonic() - began_at)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope.get("state", {})
        context, code = state.get("context"), state.get("error_code", "")
        key = "" if context is None else context.client
        # The template, and not what the client wrote: there is no end to that.
        template = getattr(scope.get("route"), "path", "unknown")
        self._metrics.observe_response(template, status, key=key, code=code)
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
            logger.log(level, "request ended", extra={"fields": fields})
