"""Errors in OpenAI's body."""

from __future__ import annotations

from typing import Any, Literal

from fastapi.responses import JSONResponse

from anytime_server.api.openapi import Body, error_responses
from anytime_server.errors import AnytimeError, ContextOverflow, RateLimited, UnknownModel

CODES = {UnknownModel: "model_not_found", RateLimited: "rate_limit_exceeded"}
"""OpenAI's codes, where they differ from ours."""


class OpenAIError(Body):
    message: str
    """For people."""
    type: Literal["invalid_request_error", "requests", "tokens", "server_error"]
    """Where an API key has reached a limit: what is limited."""
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
    message = overflow_message(error) if isinstance(error, ContextOverflow) else str(error)
    body = error_object(message, CODES.get(type(error), error.code), error.field, status)
    if isinstance(error, RateLimited):
        body["type"] = "requests" if error.field is None else "tokens"
        body["param"] = None  # at another time the same field may be accepted
    # SDKs would retry: they take 409 for a lock.
    headers = {"x-should-retry": "false"} if status == 409 else None
    return JSONResponse({"error": body}, status_code=status, headers=headers)


def overflow_message(error: ContextOverflow) -> str:
    """vLLM's wording, by which clients know that they have to shorten the conversation."""
    total_tokens = error.prompt_tokens + error.answer_tokens
    return (
        f"This model's maximum context length is {error.window_tokens} tokens. However, you requested "
        f"{total_tokens} tokens ({error.prompt_tokens} in the messages, {error.answer_tokens} in the "
        "completion). Please reduce the length of the messages or completion."
    )


def error_object(message: str, code: str, field: str | None, status: int) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return OpenAIError(message=message, type=kind, param=field, code=code).model_dump()
