"""OpenAI's chat completions, for clients that exist, and llama.cpp's control of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from anytime_server.api.openai.chat.choices import NOT_UNDER_WAY, Choices
from anytime_server.api.openai.chat.schema import ChatRequest, ControlRequest, StreamOptions
from anytime_server.api.openai.chat.stream import ChatChunks, completion
from anytime_server.api.openai.errors import ERRORS
from anytime_server.api.openapi import Body, whole_or_stream
from anytime_server.api.schema.tools import ToolAnswer
from anytime_server.api.sse import stream
from anytime_server.scheduler.scheduler import Scheduler

TOLD = whole_or_stream(
    "The completion, or its chunks where `stream` is true.",
    whole="A `chat.completion`; the thinking is its message's `reasoning_content` and `reasoning`.",
    streamed="`chat.completion.chunk`s, the last with the `anytime` object, then `[DONE]`.",
)


class ControlResponse(Body):
    success: bool
    message: str | None = None
    """Why not."""


def router(service: Scheduler) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(prefix="/v1", tags=["openai"], responses=ERRORS)
    under_way: WeakValueDictionary[str, Choices] = WeakValueDictionary()
    """By id, as long as somebody reads them."""

    @routes.post("/chat/completions", responses=TOLD)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """A chat completion whose thinking keeps to a budget."""
        service.require_ready()  # before the window is looked at, which is not known until then
        question = body.question(service, arrival=request.state.arrival)
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
            return stream(choices, chunks.encode, request_id=choices.id)
        whole = await completion(
            await choices.collect(request), tool_answers=tool_answers, shows_thinking=body.shows_thinking
        )
        return JSONResponse(whole, headers={"X-Request-Id": choices.id})

    @routes.post("/chat/completions/control", response_model_exclude_none=True)
    async def control(body: ControlRequest, request: Request) -> ControlResponse:
        """End the thinking of a completion that is under way, all its choices; it answers then."""
        choices = under_way.get(body.id)
        account = request.state.arrival.account
        refused = NOT_UNDER_WAY if choices is None else choices.end_thinking(account)
        return ControlResponse(success=refused is None, message=refused)

    return routes


async def _tool_answers(
    service: Scheduler, body: ChatRequest, tools: Sequence[dict[str, Any]]
) -> list[ToolAnswer]:
    """One for each choice; none without tools, or where the service is to refuse them."""
    parsing = service.tool_parsing
    if not tools or parsing is None:
        return []
    parallel = body.parallel_tool_calls is not False

    def make() -> list[ToolAnswer]:
        return [ToolAnswer(parsing.reader(tools), parallel=parallel) for _ in range(body.num_choices)]

    return await asyncio.to_thread(make)  # the first time takes seconds
