"""Limits the size of a request: its headers, its body, and the conversation in it.

With httptools, uvicorn limits no headers; Starlette's limit of bodies replaces the dialect's error by text.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.errors import AnytimeError, BodyTooLarge, HeadersTooLarge, InvalidRequest

CONVERSATION_FIELDS = ("messages", "input")
"""Names of the conversation in the dialects' bodies."""


class SizeLimitMiddleware:
    """ASGI middleware: refuses headers and bodies over their limits."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        refuse: Callable[[Scope, AnytimeError], JSONResponse],
        max_header_bytes: int,
        max_body_bytes: int,
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error: AnytimeError | None = None
        too_large = f"the body is over the limit of {self._max_body_bytes} bytes"
        if _header_bytes(scope) > self._max_header_bytes:
            error = HeadersTooLarge(f"the headers are over the limit of {self._max_header_bytes} bytes")
        elif int(Headers(scope=scope).get("content-length", 0)) > self._max_body_bytes:
            error = BodyTooLarge(too_large, field="body")
        if error is not None:
            await self._refuse(scope, error)(scope, receive, send)
            return
        num_bytes = 0

        async def limited_receive() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_body_bytes:
                raise HTTPException(413, too_large)
            return message

        await self._app(scope, limited_receive, send)


def _header_bytes(scope: Scope) -> int:
    """Bytes of the request line and of the headers' names and values."""
    line_bytes = len(scope["raw_path"]) + len(scope["query_string"])
    return line_bytes + sum(len(name) + len(value) for name, value in scope["headers"])


class MessageLimit:
    """Dependency of endpoints that take a conversation: refuses too many messages."""

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages

    async def __call__(self, request: Request) -> None:
        """
        Raises:
            InvalidRequest: there are too many messages; names the field.
        """
        try:
            body = await request.json()  # read and parsed already
        except ValueError:
            return  # the endpoint refuses a body that is no JSON
        for field in CONVERSATION_FIELDS:
            messages = body.get(field) if isinstance(body, dict) else None
            if isinstance(messages, list) and len(messages) > self._max_messages:
                raise InvalidRequest(
                    f"{field}: {len(messages)} messages are over the limit of {self._max_messages}",
                    field=field,
                )
