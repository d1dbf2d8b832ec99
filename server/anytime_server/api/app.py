"""The application: a service, its dialects, and their errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from anytime_server import __version__
from anytime_server.api import anthropic, errors, native, openai, operations, playground
from anytime_server.api.ingress import Ingress
from anytime_server.service import Service

logger = logging.getLogger(__name__)


def create_app(
    service: Service,
    *,
    max_body_bytes: int = 1 << 20,
    on_started: Callable[[BaseException | None], None] = lambda error: None,
) -> FastAPI:
    """Everything over HTTP. The service starts with the application and stops with it.

    The application takes requests at once, and `/ready` says 503, while the model loads.

    Args:
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
    app.add_middleware(Ingress, max_body_bytes=max_body_bytes)
    app.include_router(native.router(service))
    app.include_router(openai.router(service))
    app.include_router(anthropic.router(service))
    app.include_router(operations.router(service))
    app.include_router(playground.router())
    errors.install(
        app,
        dialects={
            "/v1/chat/": openai.error_response,
            "/v1/models": openai.error_response,
            "/v1/responses": openai.error_response,
            "/v1/messages": anthropic.error_response,
        },
        default=native.error_response,
    )
    return app
