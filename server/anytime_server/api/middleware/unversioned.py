"""Paths without `/v1`, as some clients are configured: they are those with it."""

from __future__ import annotations

from collections.abc import Set

from starlette.types import ASGIApp, Receive, Scope, Send

VERSION = "/v1"


class UnversionedPathMiddleware:
    """Outermost ASGI middleware, so that all others see one path of each endpoint."""

    def __init__(self, app: ASGIApp, *, names: Set[str]) -> None:
        """
        Args:
            names: first parts of the versioned paths, after the version.
        """
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"][1:].partition("/")[0] in self._names:
            scope = {**scope, "path": VERSION + scope["path"]}
        await self._app(scope, receive, send)


def versioned_names(paths: Set[str]) -> frozenset[str]:
    """The `names` of the middleware, from the paths of all endpoints."""
    return frozenset(path.split("/")[2] for path in paths if path.startswith(f"{VERSION}/"))
