"""OpenAI's chat completions, for clients that exist, and llama.cpp's control of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from weakref import WeakValueDictionary

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse

from anytime_server.api import respond
from anytime_server.api.openai.chat_choices import NOT_UNDER_WAY, Choices
from anytime_server.api.openai.chat_request import ChatRequest, ControlRequest, StreamOptions
from anytime_server.api.openai.chat_response import ChatChunks, completion
from anytime_server.api.openai.chat_tools import ToolAnswer
from anytime_server.service import Service


def router(service: Service) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(prefix="/v1", tags=["openai"])
    under_way: WeakValueDictionary[str, Choices] = WeakValueDictionary()
    """By id, as long as somebody reads them."""

    @routes.post("/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """A chat completion whose thinking keeps to a budget."""
        service.require_ready()  # before the window is looked at, which is not known until then
        question = body.question(service, arrived_at=request.state.arrived_at)
        tool_answers = await _tool_answers(service, body, question.tools)
        choices = await Choices.open(
            service,
            question,
            num_choices=body.num_choices,
            is_controllable=body.reasoning_control is not False,
        )
        under_way[choices.id] = choices
        if body.stream:
            options = body.stream_options or StreamOptions()
            chunks = ChatChunks(
                completion_id=choices.id,
                model=service.model.name,
                num_choices=body.num_choices,
                tool_answers=tool_answers,
                shows_thinking=body.shows_thinking,
                shows_usage=options.include_usage,
            )
            return _stream(choices, chunks)
        whole = await completion(
            await choices.collect(request), tool_answers=tool_answers, shows_thinking=body.shows_thinking
        )
        return JSONResponse(whole, headers={"X-Request-Id": choices.id})

    @routes.post("/chat/completions/control")
    async def control(body: ControlRequest) -> dict[str, Any]:
        """End the thinking of a completion that is under way, all its choices; it answers then."""
        choices = under_way.get(body.id)
        refused = NOT_UNDER_WAY if choices is None else choices.end_thinking()
        return {"success": True} if refused is None else {"success": False, "message": refused}

    return routes


async def _tool_answers(
    service: Service, body: ChatRequest, tools: Sequence[dict[str, Any]]
) -> list[ToolAnswer]:
    """One for each choice; none without tools, or where the service is to refuse them."""
    parsing = service.tool_parsing
    if not tools or parsing is None:
        return []
    parallel = body.parallel_tool_calls is not False

    def make() -> list[ToolAnswer]:
        return [ToolAnswer(parsing.reader(tools), parallel=parallel) for _ in range(body.num_choices)]

    return await asyncio.to_thread(make)  # the first time takes seconds


def _stream(choices: Choices, chunks: ChatChunks) -> EventSourceResponse:
    async def wire() -> AsyncGenerator[bytes, None]:
        async with aclosing(choices.read(idle_s=respond.KEEP_ALIVE_S)) as batches:
            sent_at = time.monotonic()
            async for index, batch in batches:
                data = await chunks.encode(index, batch)
                # What is said may not be shown; the connection is to be kept alive all the same.
                if not batch or (not data and time.monotonic() - sent_at >= respond.KEEP_ALIVE_S):
                    data = KEEPALIVE_COMMENT
                if data:
                    yield data
                    sent_at = time.monotonic()

    headers = {**respond.STREAM_HEADERS, "X-Request-Id": choices.id}
    return EventSourceResponse(wire(), headers=headers)
