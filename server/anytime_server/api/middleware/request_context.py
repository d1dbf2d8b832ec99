"""Gives each request its context; the response carries its id, and the fields that had no effect."""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.types import IgnoredFields, RequestContext

VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""Ids that clients may choose; they come back in a header and go to the log."""

IGNORED_HEADER = "X-Anytime-Ignored"
"""Response header that lists the fields that had no effect, separated by commas."""
PLAIN_PATH = re.compile(r"[\w.$-]+", re.ASCII)
"""Fields that the header can name; a client's own names may have any characters."""
MAX_HEADER_CHARACTERS = 1000


class RequestContextMiddleware:
    """ASGI middleware: puts the `RequestContext` in `state["context"]`, and sets headers from it.

    The id in `X-Request-Id` is the client's own, or the session's if the endpoint sets it, or a new one.
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
        ignored = IgnoredFields(is_strict=self._is_strict)
        scope.setdefault("state", {})["context"] = RequestContext(
            request_id=request_id,
            ignored=ignored,
            traceparent=headers.get("traceparent"),
            tracestate=",".join(headers.getlist("tracestate")) or None,
        )

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                response_headers = MutableHeaders(scope=message)
                if client_id is not None:
                    response_headers["X-Request-Id"] = client_id
                else:
                    response_headers.setdefault("X-Request-Id", request_id)
                if message["status"] < 400 and (listed := _listed(ignored.fields)):
                    response_headers[IGNORED_HEADER] = listed
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _listed(fields: Sequence[str]) -> str:
    """The fields as the value of a header, as far as they fit."""
    text = ", ".join(filter(PLAIN_PATH.fullmatch, fields))
    return text if len(text) <= MAX_HEADER_CHARACTERS else text[:MAX_HEADER_CHARACTERS].rpartition(",")[0]
