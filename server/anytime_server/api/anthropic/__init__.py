"""Anthropic's Messages API."""

from anytime_server.api.anthropic.errors import error_response
from anytime_server.api.anthropic.handler import router

__all__ = ["error_response", "router"]
