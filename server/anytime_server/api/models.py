"""The list of served models, as OpenAI and as Anthropic show it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request

from anytime_server.api.openai.errors import OpenAIErrorResponse
from anytime_server.api.openapi import Body
from anytime_server.reasoning import Manifest
from anytime_server.scheduler.scheduler import Scheduler

NO_SUCH_MODEL: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": OpenAIErrorResponse, "description": "The server serves another model."}
}
ANTHROPIC_HEADER = "anthropic-version"
"""Header of Anthropic's clients, which get models in their own form."""


class ModelCard(Body):
    """A served model, as OpenAI shows models."""

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


class AnthropicModel(Body):
    """A served model, as Anthropic shows models."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: datetime
    """Start time of the server."""
    max_input_tokens: int | None
    lifecycle: Literal["active"] = "active"

    @classmethod
    def of(cls, card: ModelCard) -> AnthropicModel:
        return cls(
            id=card.id,
            display_name=card.id,
            created_at=datetime.fromtimestamp(card.created, UTC),
            max_input_tokens=card.max_model_len,
        )


class AnthropicModelList(Body):
    """With the header `anthropic-version`."""

    data: list[AnthropicModel]
    has_more: Literal[False] = False
    first_id: str
    last_id: str


def router(scheduler: Scheduler) -> APIRouter:
    """The endpoints; they respond in every state of the engine."""
    routes = APIRouter(tags=["operations"], prefix="/v1/models")
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

    @routes.get("")
    async def models(request: Request) -> ModelList | AnthropicModelList:
        """The served model with its `anytime` manifest, its LoRA adapters and its aliases."""
        cards = [card(name) for name in scheduler.runtime.model_names]
        if ANTHROPIC_HEADER not in request.headers:
            return ModelList(data=cards)
        shown = [AnthropicModel.of(card) for card in cards]
        return AnthropicModelList(data=shown, first_id=shown[0].id, last_id=shown[-1].id)

    @routes.get("/{name:path}", responses=NO_SUCH_MODEL)
    async def model(name: str, request: Request) -> ModelCard | AnthropicModel:
        """The model of this name."""
        scheduler.runtime.require_name(name)
        return AnthropicModel.of(card(name)) if ANTHROPIC_HEADER in request.headers else card(name)

    return routes
