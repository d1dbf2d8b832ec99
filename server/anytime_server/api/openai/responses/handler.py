"""OpenAI's Responses API, for clients that exist. Nothing is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from anytime_server.api.openai.errors import ERRORS, OpenAIErrorResponse
from anytime_server.api.openai.responses.items import opening, whole
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.openai.responses.stream import ResponseEvents
from anytime_server.api.openapi import whole_or_stream
from anytime_server.api.schema.tools import ToolAnswer
from anytime_server.api.sse import collect, stream
from anytime_server.errors import AnytimeError, InvalidRequest
from anytime_server.scheduler.scheduler import Scheduler

TOLD = whole_or_stream(
    "The response, or its events where `stream` is true.",
    whole="A `response`; the thinking is an item of type `reasoning` in its `output`.",
    streamed="`response.created` and what follows; the response of the last has the `anytime` object.",
)

NEVER: dict[str, Any] = {
    "status_code": 404,
    "response_description": "In any case.",
    "responses": {404: {"model": OpenAIErrorResponse}},
}


def router(service: Scheduler) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(prefix="/v1/responses", tags=["openai"], responses=ERRORS)

    @routes.post("", responses=TOLD)
    async def responses(body: ResponsesRequest, request: Request) -> Response:
        """A response whose thinking keeps to a budget."""
        service.require_ready()  # before the window is looked at, which is not known until then
        with _own_fields(body):
            question = body.question(service, arrival=request.state.arrival)
            tool_answer = await _tool_answer(service, body)
            session = await service.open(question)
        opened = opening(body, response_id=session.request.id, model=service.model.name)
        if body.stream:
            told = ResponseEvents(body, opened, tool_answer=tool_answer, continuation=session.continuation)
            return stream(session, told.encode, request_id=session.request.id)
        transcript = await collect(session, request)
        return JSONResponse(
            await whole(body, opened, transcript, tool_answer), headers={"X-Request-Id": session.request.id}
        )

    @routes.get("/{response_id}", **NEVER)
    @routes.delete("/{response_id}", **NEVER)
    async def stored(response_id: str) -> Response:
        """Always 404."""
        raise AnytimeError(
            f"no response {response_id!r} is here: responses are not stored",
            code="response_not_found",
            status=404,
            field="response_id",
        )

    return routes


async def _tool_answer(service: Scheduler, body: ResponsesRequest) -> ToolAnswer | None:
    """What reads the answer, where there can be calls in it."""
    if service.tool_parsing is None or not (tools := body.offered_tools):
        return None
    # In a thread: the first time takes seconds.
    reader = await asyncio.to_thread(service.tool_parsing.reader, tools)
    return ToolAnswer(reader, parallel=body.parallel_tool_calls is not False)


@contextmanager
def _own_fields(body: ResponsesRequest) -> Iterator[None]:
    """Let errors name the fields of this dialect."""
    try:
        yield
    except InvalidRequest as error:
        error.field = body.own_field(error.field)
        raise
