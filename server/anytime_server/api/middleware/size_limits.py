"""How large a request may be: its headers, its body, and the conversation in it."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.errors import AnytimeError, HeadersTooLarge, InvalidRequest

DRAINED_BODIES = 32
"""How many times the limit is read and thrown away, so that a client that is still sending
gets to see the refusal instead of a broken connection."""

CONVERSATIONS = ("messages", "input")
"""What the dialects call a conversation in their bodies."""


class Bounds:
    """ASGI middleware: bounds headers and body."""

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
        line_bytes = len(scope["raw_path"]) + len(scope["query_string"])
        if (
            line_bytes + sum(len(name) + len(value) for name, value in scope["headers"])
            > self._max_header_bytes
        ):
            error = HeadersTooLarge(f"the headers are over the limit of {self._max_header_bytes} bytes")
            await self._refuse(scope, error)(scope, receive, send)
            return
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


class MessageLimit:
    """Dependency of the endpoints that take a conversation: refuses one of too many messages."""

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages

    async def __call__(self, request: Request) -> None:
        """
        Raises:
            InvalidRequest: naming the field.
        """
        try:
            body = await request.json()  # which has been read by now, and is not parsed again
        except (ValueError, RecursionError, ClientDisconnect):
            return  # not declared as JSON, and its endpoint says so; or nobody is left to be told
        for field in CONVERSATIONS:
            messages = body.get(field) if isinstance(body, dict) else None
            if isinstance(messages, list) and len(messages) > self._max_messages:
                raise InvalidRequest(
                    f"{field}: {len(messages)} are more than the {self._max_messages} that are taken",
                    field=field,
                )
