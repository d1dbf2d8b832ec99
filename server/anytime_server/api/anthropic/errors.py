"""Errors in Anthropic's body, which has no field for the request's field: the message names it."""

from __future__ import annotations

from typing import Any, Literal

from fastapi.responses import JSONResponse

from anytime_server.api.openapi import Body, error_responses
from anytime_server.errors import AnytimeError, ContextOverflow, EngineDead, Overloaded, Unavailable

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""By status, where that of refused requests or of failures is too general."""

OVERLOADED = (Unavailable.code, Overloaded.code, EngineDead.code)


class AnthropicError(Body):
    type: str
    """`invalid_request_error`, `authentication_error`, `permission_error`, `not_found_error`,
    `request_too_large`, `rate_limit_error`, `overloaded_error` or `api_error`."""
    message: str
    """For people; names the request field at fault."""


class AnthropicErrorResponse(Body):
    type: Literal["error"] = "error"
    error: AnthropicError
    request_id: str


ERRORS = error_responses(AnthropicErrorResponse)


def error_response(error: AnytimeError, request_id: str) -> JSONResponse:
    """A whole response; a refused request is 400."""
    status = 400 if error.status == 422 else error.status
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    headers = {"request-id": request_id}
    if status == 409:
        headers["x-should-retry"] = "false"  # SDKs would retry: they take 409 for a lock
    field = None if status == 429 else error.field  # at another time the same field may be accepted
    message = overflow_message(error) if isinstance(error, ContextOverflow) else named(str(error), field)
    body = error_object(kind, message) | {"request_id": request_id}
    return JSONResponse(body, status_code=status, headers=headers)


def overflow_message(error: ContextOverflow) -> str:
    """Anthropic's wording, by which clients know that they have to shorten the conversation."""
    most_tokens = error.window_tokens - error.answer_tokens
    return f"prompt is too long: {error.prompt_tokens} tokens > {most_tokens} maximum"


def error_event(code: str, message: str) -> dict[str, Any]:
    """The last event of a stream that has failed."""
    return error_object("overloaded_error" if code in OVERLOADED else "api_error", message)


def error_object(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def named(message: str, field: str | None) -> str:
    """The message, with the field in it."""
    return message if field is None or field in message else f"{field}: {message}"
