"""Errors as OpenAI tells them."""

from __future__ import annotations

from typing import Any, Literal

from fastapi.responses import JSONResponse

from anytime_server.api.openapi import Body, error_responses
from anytime_server.errors import AnytimeError, RateLimited, UnknownModel

FIELDS = {
    "answer.max_tokens": "max_tokens",
    "answer.response_format": "response_format",
    "answer.response_format.json_schema": "response_format.json_schema",
    "budget": "anytime.budget",
    "continuation": "anytime.continuation",
}
"""What this dialect calls a field of the native one."""

CODES = {UnknownModel: "model_not_found", RateLimited: "rate_limit_exceeded"}
"""What it calls an error, where it has a name of its own."""


class OpenAIError(Body):
    message: str
    """For people."""
    type: Literal["invalid_request_error", "requests", "tokens", "server_error"]
    """Where a limit of the API key is reached: of what."""
    param: str | None
    """The request field at fault."""
    code: str
    """Stable, for programs."""


class OpenAIErrorResponse(Body):
    error: OpenAIError


ERRORS = error_responses(OpenAIErrorResponse)


def error_response(error: AnytimeError, request_id: str) -> JSONResponse:
    """A whole response; a refused request is 400."""
    status = 400 if error.status == 422 else error.status
    field = None if error.field is None else FIELDS.get(error.field, error.field)
    body = error_object(str(error), CODES.get(type(error), error.code), field, status)
    if isinstance(error, RateLimited):
        body["type"] = "requests" if field is None else "tokens"  # of which only a smaller field asks less
        body["param"] = None  # it may be another time's business
    return JSONResponse({"error": body}, status_code=status)


def error_object(message: str, code: str, field: str | None, status: int) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return OpenAIError(message=message, type=kind, param=field, code=code).model_dump()
