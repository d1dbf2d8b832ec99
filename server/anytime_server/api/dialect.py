"""The dialects by path: their error bodies and rate limit headers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import Scope

from anytime_server.auth import Account
from anytime_server.errors import AnytimeError
from anytime_server.types import RequestContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The wire format of one vendor's clients."""

    prefixes: tuple[str, ...]
    """Beginnings of the paths that are answered in this dialect."""
    shared_prefixes: tuple[str, ...] = ()
    """Beginnings of paths of another dialect that are answered in this one if the request has `header`."""
    header: str = ""
    """Header of this dialect's clients."""
    error_response: Callable[[AnytimeError, str], JSONResponse]
    """The response to an error, given the request's id."""
    rate_limit_headers: Callable[[Account], dict[str, str]]

    def answers(self, scope: Scope) -> bool:
        """Whether a request is answered in this dialect."""
        path: str = scope["path"]
        return path.startswith(self.prefixes) or (
            path.startswith(self.shared_prefixes) and self.header in Headers(scope=scope)
        )

    def refuse(self, scope: Scope, error: AnytimeError) -> JSONResponse:
        """The whole response to a request that ends in an error."""
        context: RequestContext = scope["state"]["context"]
        assert context.request_id is not None
        scope["state"]["error_code"] = error.code  # for the access log and metrics
        response = self.error_response(error, context.request_id)
        if error.retry_after_s is not None:
            response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialects:
    """The native dialect, OpenAI's and Anthropic's."""

    special: tuple[Dialect, ...]
    """Anthropic's, the native one and OpenAI's. The first that answers a request's path is used."""
    default: Dialect
    """The native dialect, for the paths of no other."""

    def of(self, scope: Scope) -> Dialect:
        """The dialect in which a request is answered."""
        return next((one for one in self.special if one.answers(scope)), self.default)

    def refuse(self, scope: Scope, error: AnytimeError) -> JSONResponse:
        return self.of(scope).refuse(scope, error)
