"""Errors as HTTP responses in the dialect of their path: exception handlers and the last resort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytime_server.api.dialect import Dialects
from anytime_server.errors import AnytimeError, BodyTooLarge, InvalidRequest
from anytime_server.printable import shortened

SHOWN_FAULTS = 5
SHOWN_CHARACTERS = 150
"""Of each fault's message, and of each name on the way to its field."""


def install(app: FastAPI, dialects: Dialects) -> None:
    """Answer every error in the dialect of its path."""

    def respond(request: Request, error: AnytimeError) -> JSONResponse:
        return dialects.refuse(request.scope, error)

    @app.exception_handler(AnytimeError)
    async def _known(request: Request, error: AnytimeError) -> JSONResponse:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return respond(request, invalid_request(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, AnytimeError):  # FastAPI's, around an error of `JsonRequest`
            return respond(request, error.__cause__)
        if error.status_code == 413:
            return respond(request, BodyTooLarge(error.detail, field="body"))
        if error.status_code == 400:  # FastAPI's, where reading the body fails
            return respond(request, InvalidRequest("body: cannot be read as JSON", field="body"))
        failure = AnytimeError(
            f"{request.method} {request.scope['path']}: {error.detail}",
            code=error.detail.lower().replace(" ", "_"),
            status=error.status_code,
        )
        response = respond(request, failure)
        response.headers.update(error.headers or {})
        return response


class Unexpected:
    """ASGI middleware, the innermost: answers unexpected exceptions of endpoints.

    An exception handler would do so outside of all other middleware, and without their headers.
    """

    def __init__(self, app: ASGIApp, *, dialects: Dialects) -> None:
        self._app = app
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_noted(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception:
            if scope["type"] == "http" and not has_started:
                error = AnytimeError("an unexpected error; the server's log has it")
                await self._dialects.refuse(scope, error)(scope, receive, send)
            raise  # to the server, which logs it


def invalid_request(faults: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """One error out of pydantic's list: names the first field, and describes the others."""
    described = [_describe(fault) for fault in faults[:SHOWN_FAULTS]]
    field, _ = described[0]
    return InvalidRequest("; ".join(f"{name}: {message}" for name, message in described), field=field)


def _describe(fault: Mapping[str, Any]) -> tuple[str, str]:
    location = [shortened(_printable(str(part)), SHOWN_CHARACTERS) for part in fault["loc"]]
    if location and location[0] == "body":
        location = location[1:]
    match fault["type"]:
        case "json_invalid":
            error = fault["ctx"]["error"].removesuffix(" at")
            return "body", f"not valid JSON: {error} at character {fault['loc'][-1]}"
        case "extra_forbidden":
            return ".".join(location), "unknown field"
        case "missing" | "model_attributes_type" if not location:
            return "body", "must be a JSON object, sent with Content-Type: application/json"
        case "model_attributes_type" | "model_type" | "dict_type":
            return ".".join(location), "must be an object"
        case "too_short" if fault["ctx"]["min_length"] == 1:
            return ".".join(location), "must not be empty"
    message = shortened(_printable(str(fault["msg"])).removeprefix("Value error, "), SHOWN_CHARACTERS)
    return ".".join(location) or "body", message[:1].lower() + message[1:]


def _printable(text: str) -> str:
    """The same text, with characters that cannot be encoded as escapes."""
    return text.encode(errors="backslashreplace").decode()
