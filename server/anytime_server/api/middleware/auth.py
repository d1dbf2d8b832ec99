"""Authenticates requests by API key and reports the key's rate limits in the response headers."""

from __future__ import annotations

import asyncio
import dataclasses

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.api.dialect import Dialects
from anytime_server.auth import Keyring
from anytime_server.errors import Forbidden, Unauthorized

PROTECTED_PREFIX = "/v1/"
"""Health, metrics, the OpenAPI document and the playground need no key."""
KEY_HEADERS = ("x-api-key", "api-key")
"""Headers of a key without `Authorization: Bearer`: Anthropic's, and Azure's."""


class AuthenticationMiddleware:
    """ASGI middleware: protects the model's endpoints and adds the account to the request context.

    While the application runs, the keyring follows its file.
    """

    def __init__(self, app: ASGIApp, *, keyring: Keyring, dialects: Dialects) -> None:
        self._app = app
        self._keyring = keyring
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            watching = asyncio.create_task(self._keyring.watch())
            try:
                await self._app(scope, receive, send)
            finally:
                watching.cancel()
        elif scope["type"] != "http" or not scope["path"].startswith(PROTECTED_PREFIX):
            await self._app(scope, receive, send)
        else:
            await self._authenticate(scope, receive, send)

    async def _authenticate(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect = self._dialects.of(scope)
        try:
            account = self._keyring.account_of(_secret(scope))
        except (Unauthorized, Forbidden) as error:
            await dialect.refuse(scope, error)(scope, receive, send)
            return
        state = scope["state"]
        state["context"] = dataclasses.replace(state["context"], account=account)

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(dialect.rate_limit_headers(account))
            await send(message)

        await self._app(scope, receive, send_with_limits)


def _secret(scope: Scope) -> bytes | None:
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode("latin-1")
    found = next((headers[name] for name in KEY_HEADERS if name in headers), None)
    return None if found is None else found.encode("latin-1")
