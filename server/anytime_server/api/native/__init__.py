"""The native dialect: `/v1/anytime` and its controls."""

from anytime_server.api.native.handler import error_response, router

__all__ = ["error_response", "router"]
