"""The application: a scheduler, its dialects, and their errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from anytime_server import __version__
from anytime_server.api import (
    anthropic,
    errors,
    models,
    native,
    openai,
    operations,
    playground,
    tokenization,
)
from anytime_server.api import rate_limit_headers as rate_limits
from anytime_server.api.dialect import Dialect, Dialects
from anytime_server.api.middleware.access_log import AccessLogMiddleware
from anytime_server.api.middleware.auth import AuthenticationMiddleware
from anytime_server.api.middleware.request_context import IGNORED_HEADER, RequestContextMiddleware
from anytime_server.api.middleware.size_limits import MessageLimit, SizeLimitMiddleware
from anytime_server.api.middleware.trusted_hosts import TrustedHostMiddleware
from anytime_server.api.middleware.unversioned import UnversionedPathMiddleware, versioned_names
from anytime_server.auth import Keyring
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.telemetry.metrics import Metrics
from anytime_server.types import ReasoningField

logger = logging.getLogger(__name__)

NATIVE = Dialect(
    prefixes=("/v1/anytime",),
    error_response=native.error_response,
    rate_limit_headers=rate_limits.native,
)
DIALECTS = Dialects(
    special=(
        Dialect(
            prefixes=("/v1/messages",),
            shared_prefixes=("/v1/models",),
            header=models.ANTHROPIC_HEADER,
            error_response=anthropic.error_response,
            rate_limit_headers=rate_limits.anthropic,
        ),
        NATIVE,
        Dialect(
            prefixes=("/v1/", "/tokenize", "/detokenize"),
            error_response=openai.error_response,
            rate_limit_headers=rate_limits.openai,
        ),
    ),
    default=NATIVE,
)


def create_app(
    scheduler: Scheduler,
    *,
    metrics: Metrics | None = None,
    keyring: Keyring | None = None,
    metrics_are_open: bool = False,
    trusted_hosts_only: bool = False,
    cors_origins: Sequence[str] = (),
    max_header_bytes: int = 1 << 16,
    max_body_bytes: int = 1 << 20,
    max_messages: int = 1024,
    max_stored_responses: int = 1024,
    max_stored_bytes: int = 1 << 26,
    is_strict: bool = False,
    reasoning_field: ReasoningField = "reasoning_content",
    on_started: Callable[[BaseException | None], None] | None = None,
) -> FastAPI:
    """Everything over HTTP. The scheduler starts with the application and stops with it.

    The application answers at once, and `/ready` is 503, while the model loads.

    Args:
        metrics: of this scheduler; new ones by default.
        keyring: the API keys that are accepted; None accepts every request.
        metrics_are_open: `/metrics`, `/load` and `/version` need no key.
        trusted_hosts_only: accept only requests whose `Host` is localhost or a loopback address.
        cors_origins: origins of web pages that may use the server; `*` is any.
        max_stored_responses, max_stored_bytes: of the Responses API, for later requests; 0 stores none.
        is_strict: refuse fields that would be ignored.
        reasoning_field: where chat completions have their thinking, unless the request says otherwise.
        on_started: called once, with the error that prevented the start, or None when ready; by default the
            error is logged.
    """
    metrics = metrics or Metrics.of(scheduler)

    async def start() -> None:
        try:
            await scheduler.start()
        except Exception as error:
            if on_started is None:
                logger.error("the model cannot be served: %s", error)
            else:
                on_started(error)
        else:
            if on_started is not None:
                on_started(None)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        starting = asyncio.create_task(start())
        yield
        starting.cancel()
        await scheduler.stop()

    # FastAPI's own pages of the API load their scripts from elsewhere; the document is at /openapi.json.
    app = FastAPI(title="Anytime", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.openapi_version = "3.2.0"  # the first that can describe the events of a stream (`itemSchema`)
    # The last that is added is the first to see a request.
    app.add_middleware(errors.Unexpected, dialects=DIALECTS)
    if keyring is not None:
        app.add_middleware(
            AuthenticationMiddleware, keyring=keyring, dialects=DIALECTS, metrics_are_open=metrics_are_open
        )
    app.add_middleware(
        SizeLimitMiddleware,
        refuse=DIALECTS.refuse,
        max_header_bytes=max_header_bytes,
        max_body_bytes=max_body_bytes,
    )
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),
            expose_headers=(
                "X-Request-Id",
                "request-id",
                IGNORED_HEADER,
                "Retry-After",
                *rate_limits.EXPOSED,
            ),
        )
    if trusted_hosts_only:
        app.add_middleware(TrustedHostMiddleware, refuse=DIALECTS.refuse)
    app.add_middleware(RequestContextMiddleware, is_strict=is_strict)
    app.add_middleware(AccessLogMiddleware, metrics=metrics)
    store = openai.ResponseStore(max_responses=max_stored_responses, max_bytes=max_stored_bytes)
    bounded = [Depends(MessageLimit(max_messages))]
    app.include_router(native.router(scheduler), dependencies=bounded)
    app.include_router(openai.router(scheduler, store, reasoning_field=reasoning_field), dependencies=bounded)
    app.include_router(anthropic.router(scheduler), dependencies=bounded)
    app.include_router(tokenization.router(scheduler), dependencies=bounded)
    app.include_router(models.router(scheduler))
    app.include_router(operations.router(scheduler, metrics))
    app.include_router(playground.router())
    errors.install(app, DIALECTS)
    paths = {route.path for route in app.routes if isinstance(route, APIRoute)}
    app.add_middleware(UnversionedPathMiddleware, names=versioned_names(paths))
    return app
