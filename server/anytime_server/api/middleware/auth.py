"""Lets in who has an API key, notes whose it is, and tells what is left of its limits."""

from __future__ import annotations

import dataclasses

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.api.dialect import Dialects
from anytime_server.auth import Keyring
from anytime_server.errors import Forbidden, Unauthorized

GUARDED = "/v1/"
"""Health, metrics, the API document and the playground's page are for whoever reaches the port."""
KEY_HEADERS = ("x-api-key", "api-key")
"""Where a key is looked for if it is not in `Authorization: Bearer`: Anthropic's header, and Azure's."""


class Access:
    """ASGI middleware: guards the endpoints that serve the model, and notes the account."""

    def __init__(self, app: ASGIApp, *, keyring: Keyring, dialects: Dialects) -> None:
        self._app = app
        self._keyring = keyring
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED):
            await self._app(scope, receive, send)
            return
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
