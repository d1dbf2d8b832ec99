"""The endpoints of OpenAI's Responses API. Nothing is stored."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from anytime_server.api.body_route import BodyRoute
from anytime_server.api.openai.errors import ERRORS, OpenAIErrorResponse
from anytime_server.api.openai.responses.encoder import ResponsesEncoder
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.openapi import whole_or_stream
from anytime_server.api.sse import respond
from anytime_server.errors import AnytimeError
from anytime_server.scheduler.scheduler import Scheduler

RESPONSES = whole_or_stream(
    "The response, or its events where `stream` is true.",
    whole="A `response`; the thinking is an item of type `reasoning` in its `output`.",
    streamed="`response.created` and what follows; the response of the last has the `anytime` object.",
)

NOT_STORED: dict[str, Any] = {
    "status_code": 404,
    "response_description": "In any case.",
    "responses": {404: {"model": OpenAIErrorResponse}},
}


def router(scheduler: Scheduler) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(route_class=BodyRoute, prefix="/v1/responses", tags=["openai"], responses=ERRORS)

    @routes.post("", responses=RESPONSES)
    async def responses(body: ResponsesRequest, request: Request) -> Response:
        """A response whose thinking keeps to a budget."""
        scheduler.require_ready()
        generate = body.to_generate_request(request.state.context)
        session = await scheduler.submit(generate)
        return await respond([session], ResponsesEncoder(body, session), streams=bool(body.stream))

    @routes.get("/{response_id}", **NOT_STORED)
    @routes.delete("/{response_id}", **NOT_STORED)
    async def stored(response_id: str) -> Response:
        """Always 404."""
        raise AnytimeError(
            f"no response {response_id!r} is here: responses are not stored",
            code="response_not_found",
            status=404,
            field="response_id",
        )

    return routes
