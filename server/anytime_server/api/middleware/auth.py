"""Authenticates requests by API key and reports the key's rate limits in the response headers.

Every path needs a key unless it is listed here as open.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Set

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.api.dialect import Dialects
from anytime_server.auth import Keyring, Refusals, Role
from anytime_server.errors import Forbidden, Unauthorized

OPEN = re.compile(r"/(?:health|ready|ping|openapi\.json|playground/[^/]+)?")
"""Probes, the description of the interface, and the playground with its files."""
ROLES: dict[str, Set[Role]] = {
    "/metrics": frozenset({"metrics"}),  # its labels have the names of all keys
    "/load": frozenset({"metrics", "user"}),
    "/version": frozenset({"metrics", "user"}),
}
"""Roles of the keys that may read these paths; all other paths are for users."""
USERS: Set[Role] = frozenset({"user"})
KEY_HEADERS = ("x-api-key", "api-key")
"""Headers of a key without `Authorization: Bearer`: Anthropic's, and Azure's."""


class AuthenticationMiddleware:
    """ASGI middleware: refuses requests without a valid key, and adds the account to the request context.

    While the application runs, the keyring follows its file.
    """

    def __init__(
        self, app: ASGIApp, *, keyring: Keyring, dialects: Dialects, metrics_are_open: bool = False
    ) -> None:
        """
        Args:
            metrics_are_open: `/metrics`, `/load` and `/version` need no key.
        """
        self._app = app
        self._keyring = keyring
        self._dialects = dialects
        self._open_paths = ROLES.keys() if metrics_are_open else ()
        self._refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            watching = asyncio.create_task(self._keyring.watch())
            try:
                await self._app(scope, receive, send)
            finally:
                watching.cancel()
        elif scope["type"] == "http" and self._is_open(scope["path"]):
            await self._app(scope, receive, send)
        else:
            await self._authenticate(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return OPEN.fullmatch(path) is not None or path in self._open_paths

    async def _authenticate(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect, secret = self._dialects.of(scope), _secret(scope)
        try:
            account = self._keyring.account_of(secret, roles=ROLES.get(scope["path"], USERS))
        except (Unauthorized, Forbidden) as error:
            refusal = error
            if secret is not None:
                address = scope["client"][0] if scope.get("client") else ""
                refusal = self._refusals.count(error, address=address)
            await dialect.refuse(scope, refusal)(scope, receive, send)
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
