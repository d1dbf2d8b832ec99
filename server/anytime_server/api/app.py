"""The application: a service, its dialects, and their errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from anytime_server import __version__
from anytime_server.access import Keyring
from anytime_server.api import anthropic, errors, native, openai, operations, playground, rate_limits
from anytime_server.api.access import Access
from anytime_server.api.access_log import AccessLog
from anytime_server.api.bounds import Bounds, MessageBound
from anytime_server.api.dialect import Dialect, Dialects
from anytime_server.api.ingress import Ingress
from anytime_server.api.own_hosts import OwnHosts
from anytime_server.service import Service

logger = logging.getLogger(__name__)

DIALECTS = Dialects(
    special=(
        Dialect(
            prefixes=("/v1/chat/", "/v1/models", "/v1/responses"),
            error_response=openai.error_response,
            rate_limit_headers=rate_limits.openai,
        ),
        Dialect(
            prefixes=("/v1/messages",),
            error_response=anthropic.error_response,
            rate_limit_headers=rate_limits.anthropic,
        ),
    ),
    default=Dialect(
        prefixes=("/",), error_response=native.error_response, rate_limit_headers=rate_limits.native
    ),
)


def create_app(
    service: Service,
    *,
    keyring: Keyring | None = None,
    for_own_machine: bool = False,
    cors_origins: Sequence[str] = (),
    max_header_bytes: int = 1 << 16,
    max_body_bytes: int = 1 << 20,
    max_messages: int = 1024,
    on_started: Callable[[BaseException | None], None] = lambda error: None,
) -> FastAPI:
    """Everything over HTTP. The service starts with the application and stops with it.

    The application takes requests at once, and `/ready` says 503, while the model loads.

    Args:
        keyring: the keys that let in; None lets everybody in.
        for_own_machine: take only what is addressed to localhost or its address.
        cors_origins: pages of these may use it from a browser; `*` is any.
        on_started: called once, with what went wrong or None when ready.
    """

    async def start() -> None:
        try:
            await service.start()
        except Exception as error:
            on_started(error)
        else:
            on_started(None)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        starting = asyncio.create_task(start())
        yield
        starting.cancel()
        await service.stop()

    # FastAPI's own pages of the API load their scripts from elsewhere; the document is at /openapi.json.
    app = FastAPI(title="Anytime", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.openapi_version = "3.2.0"  # the first that can describe the events of a stream (`itemSchema`)
    # The last that is added is the first to see a request.
    app.add_middleware(errors.Unexpected, dialects=DIALECTS)
    if keyring is not None:
        app.add_middleware(Access, keyring=keyring, dialects=DIALECTS)
    app.add_middleware(
        Bounds,
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
            expose_headers=("X-Request-Id", "request-id", "Retry-After", *rate_limits.EXPOSED),
        )
    if for_own_machine:
        app.add_middleware(OwnHosts, refuse=DIALECTS.refuse)
    app.add_middleware(Ingress)
    app.add_middleware(AccessLog, metrics=service.metrics)
    bounded = [Depends(MessageBound(max_messages))]
    app.include_router(native.router(service), dependencies=bounded)
    app.include_router(openai.router(service), dependencies=bounded)
    app.include_router(anthropic.router(service), dependencies=bounded)
    app.include_router(operations.router(service))
    app.include_router(playground.router())
    errors.install(app, DIALECTS)
    return app
