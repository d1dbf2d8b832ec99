"""The first to see a request: notes how it came, and sees that every response says which it answers."""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.types import RequestContext

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""Of a request's id, as clients may choose it: it comes back in a header, and goes to logs."""


class RequestContextMiddleware:
    """ASGI middleware: notes `state["context"]`, and sets `X-Request-Id`.

    That is the client's own, or the session's, which its endpoint has set, or one that is made up here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        own_id = given if SANE_ID.fullmatch(given) else None
        request_id = own_id or f"req_{uuid4().hex}"
        scope.setdefault("state", {})["context"] = RequestContext(
            request_id=request_id,
            traceparent=headers.get("traceparent"),
            tracestate=",".join(headers.getlist("tracestate")) or None,
        )

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                if own_id is not None:
                    told["X-Request-Id"] = own_id
                else:
                    told.setdefault("X-Request-Id", request_id)
            await send(message)

        await self._app(scope, receive, send_named)
