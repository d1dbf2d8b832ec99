"""OpenAI's dialects: chat completions, responses and their neighbours."""

from fastapi import APIRouter

from anytime_server.api.openai.chat import handler as chat
from anytime_server.api.openai.completions import handler as completions
from anytime_server.api.openai.errors import error_response
from anytime_server.api.openai.responses import handler as responses
from anytime_server.api.openai.responses.store import ResponseStore
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.types import ReasoningField

__all__ = ["ResponseStore", "error_response", "router"]


def router(scheduler: Scheduler, store: ResponseStore, *, reasoning_field: ReasoningField) -> APIRouter:
    """The endpoints of these dialects."""
    routes = APIRouter()
    routes.include_router(chat.router(scheduler, reasoning_field=reasoning_field))
    routes.include_router(completions.router(scheduler))
    routes.include_router(responses.router(scheduler, store))
    return routes
