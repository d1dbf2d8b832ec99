"""The first to see a request: notes when it came and refuses bodies that are too large."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.arrival import Arrival

DRAINED_BODIES = 32
"""How many times the limit is read and thrown away, so that a client that is still sending
gets to see the refusal instead of a broken connection."""


class Ingress:
    """ASGI middleware: notes `state["arrival"]` and bounds the body."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["arrival"] = Arrival()
        num_bytes = 0

        async def bounded_receive() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes <= self._max_body_bytes:
                return message
            while message.get("more_body") and num_bytes < DRAINED_BODIES * self._max_body_bytes:
                message = await receive()
                num_bytes += len(message.get("body", b""))
            raise HTTPException(413, f"the body is over the limit of {self._max_body_bytes} bytes")

        await self._app(scope, bounded_receive, send)
