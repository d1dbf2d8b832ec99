"""Routes with a JSON body: what reading one may cost, who is charged for it, and clients that leave.

Knows no dialect: the schema of a body is its endpoint's.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from functools import wraps
from itertools import islice
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from anytime_server.api.schema.fields import Fields
from anytime_server.api.schema.ignored import report_ignored
from anytime_server.auth import Account
from anytime_server.errors import InvalidRequest, SessionCancelled, UnknownModel
from anytime_server.types import IgnoredFields

MAX_VALUES = 100_000
"""JSON values in a body, empty objects and lists counted twice. A conversation of 1024 messages with 128
tools has about 20,000."""
SMALL_BYTES = 1 << 16
"""Larger bodies are parsed only for an API key that may open a session."""
STRING_OR_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[{]', re.DOTALL)
"""A string, or a byte outside of strings of which each value of the body has at most one."""


class BodyRoute(APIRoute):
    """Bounds the work for a body, and ends it when the client leaves.

    A request that is refused for its body counts as a request of its API key: it cost as much as another.
    Fields of the body that have no effect are noted in the request's context before the endpoint is called,
    which must take `request`.
    """

    refuses_ignored = False
    """Refuse such fields, whether the server is strict or not."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, self._noting_ignored(endpoint), **options)

    def _noting_ignored(self, endpoint: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(endpoint)
        async def call(**arguments: Any) -> Any:
            for body in arguments.values():
                if isinstance(body, Fields):
                    ignored: IgnoredFields = arguments["request"].state.context.ignored
                    ignored.refuses = ignored.is_strict or self.refuses_ignored
                    report_ignored(body, ignored)
            return await endpoint(**arguments)

        return call

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_body(request: Request) -> Response:
            request = JsonRequest(request.scope, request.receive)
            account: Account | None = request.state.context.account
            try:
                num_bytes = len(await request.body())
            except ClientDisconnect:
                raise SessionCancelled("the client disconnected") from None
            if account is not None and num_bytes > SMALL_BYTES:
                account.require_room()
            try:
                return await _while_connected(handle(request), request)
            except (RequestValidationError, InvalidRequest, UnknownModel, HTTPException):
                if account is not None:
                    account.count_request()
                raise

        return handle_body


class JsonRequest(Request):
    """A request whose JSON is parsed only where that is cheap."""

    async def json(self) -> Any:
        """
        Raises:
            JSONDecodeError: the body is not JSON.
            InvalidRequest: it is nested too deeply, or has too many values, or a number that is too long.
        """
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


def parse_json(body: bytes) -> Any:
    """The value of a body, as `JsonRequest.json()`."""
    if sum(map(body.count, (b",", b"[", b"{"))) >= MAX_VALUES:  # those in strings included
        marks = (found for found in STRING_OR_MARK.finditer(body) if body[found.start()] != ord('"'))
        if next(islice(marks, MAX_VALUES, None), None) is not None:
            raise InvalidRequest(f"body: has more than {MAX_VALUES} JSON values", field="body")
    try:
        return json.loads(body)
    except RecursionError:
        raise InvalidRequest("body: is nested too deeply", field="body") from None
    except json.JSONDecodeError:
        raise  # FastAPI reports where
    except UnicodeDecodeError:
        raise InvalidRequest("body: not valid JSON: it is not in UTF-8", field="body") from None
    except ValueError:
        raise InvalidRequest("body: has a number with too many digits", field="body") from None


async def _while_connected(handling: Coroutine[Any, Any, Response], request: Request) -> Response:
    """The result of `handling`, which is cancelled if the client disconnects before.

    Raises:
        SessionCancelled: the client disconnected.
    """
    connected = asyncio.timeout(None)
    try:
        async with connected:
            watcher = asyncio.create_task(_interrupt_at_disconnect(request, connected))
            try:
                return await handling
            finally:
                watcher.cancel()
    except TimeoutError:
        if not connected.expired():
            raise
        raise SessionCancelled("the client disconnected") from None


async def _interrupt_at_disconnect(request: Request, connected: asyncio.Timeout) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    connected.reschedule(0)
