"""The endpoints of the native dialect: `/v1/anytime` and its controls."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from anytime_server.api.body_route import BodyRoute
from anytime_server.api.native.encoder import NativeEncoder
from anytime_server.api.native.events import AnytimeResponse, ErrorDetail, Event
from anytime_server.api.native.schema import (
    AnswerNowResponse,
    AnytimeRequest,
    ErrorResponse,
    ExtendRequest,
    ExtendResponse,
)
from anytime_server.api.openapi import error_responses, event_stream
from anytime_server.api.sse import respond
from anytime_server.errors import AnytimeError
from anytime_server.scheduler.scheduler import Scheduler

ERRORS = error_responses(ErrorResponse)
EVENTS: dict[str, Any] = {
    "description": "Server-sent events, or one body where `stream` is false.",
    "content": event_stream(Event),
}


class StrictRoute(BodyRoute):
    """A route of the project's own dialect: a field that it does not know is a mistake."""

    refuses_ignored = True


def error_response(error: AnytimeError, request_id: str) -> JSONResponse:
    """An error in this dialect's body."""
    body = ErrorResponse(error=ErrorDetail.of(error))
    return JSONResponse(body.model_dump(), status_code=error.status)


def router(scheduler: Scheduler) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(route_class=StrictRoute, prefix="/v1/anytime", tags=["anytime"], responses=ERRORS)

    @routes.post("", response_model=AnytimeResponse, responses={200: EVENTS})
    async def think(body: AnytimeRequest, request: Request) -> Response:
        """Think to a budget, then answer.

        Streams server-sent events: `started`, any number of `thinking`, answers (each `answer.started`,
        `answer.delta`..., `answer.done`; provisional ones between the thinking, the final one after it), then
        exactly one of `done` and `error`. With `stream` false, one body at the end.
        """
        session = await scheduler.submit(body.to_generate_request(request.state.context))
        return await respond([session], NativeEncoder(), streams=body.stream)

    @routes.post("/{session_id}/answer", status_code=202)
    async def answer_now(session_id: str, request: Request) -> AnswerNowResponse:
        """Stop thinking and answer from the thinking until now."""
        session = scheduler.find(session_id, account=request.state.context.account)
        return AnswerNowResponse(id=session_id, at_tokens=session.answer_now())

    @routes.post("/{session_id}/extend", status_code=202)
    async def extend(session_id: str, body: ExtendRequest, request: Request) -> ExtendResponse:
        """Raise the budget while the session thinks."""
        budget_tokens, at_tokens = scheduler.extend(
            session_id, body.tokens, account=request.state.context.account
        )
        return ExtendResponse(id=session_id, budget_tokens=budget_tokens, at_tokens=at_tokens)

    @routes.delete("/{session_id}", status_code=204)
    async def cancel(session_id: str, request: Request) -> None:
        """End a session; its stream ends with an error event of code `cancelled`."""
        scheduler.find(session_id, account=request.state.context.account).cancel()

    return routes
