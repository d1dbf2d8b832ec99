"""OpenAI's dialects: chat completions, responses and their neighbours."""

from fastapi import APIRouter

from anytime_server.api.openai import chat, responses
from anytime_server.api.openai.errors import error_response
from anytime_server.service import Service

__all__ = ["error_response", "router"]


def router(service: Service) -> APIRouter:
    """The endpoints of these dialects."""
    routes = APIRouter()
    routes.include_router(chat.router(service))
    routes.include_router(responses.router(service))
    return routes
