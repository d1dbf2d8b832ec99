"""Gives each request its context and its id, which the response carries."""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.types import IgnoredFields, RequestContext

VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""Ids that clients may choose; they come back in a header and go to the log."""


class RequestContextMiddleware:
    """ASGI middleware: puts the `RequestContext` in `state["context"]` and sets the header `X-Request-Id`.

    The id is the client's own, or the session's if the endpoint sets it, or a new one.
    """

    def __init__(self, app: ASGIApp, *, is_strict: bool) -> None:
        """
        Args:
            is_strict: refuse fields that would be ignored.
        """
        self._app = app
        self._is_strict = is_strict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        client_id = given if VALID_ID.fullmatch(given) else None
        request_id = client_id or f"req_{uuid4().hex}"
        scope.setdefault("state", {})["context"] = RequestContext(
            request_id=request_id,
            ignored=IgnoredFields(is_strict=self._is_strict),
            traceparent=headers.get("traceparent"),
            tracestate=",".join(headers.getlist("tracestate")) or None,
        )

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                response_headers = MutableHeaders(scope=message)
                if client_id is not None:
                    response_headers["X-Request-Id"] = client_id
                else:
                    response_headers.setdefault("X-Request-Id", request_id)
            await send(message)

        await self._app(scope, receive, send_with_id)
