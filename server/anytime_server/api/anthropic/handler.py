"""The endpoints of Anthropic's Messages API."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from anytime_server.api.anthropic.errors import ERRORS
from anytime_server.api.anthropic.message import message
from anytime_server.api.anthropic.schema import MessagesRequest, Prompt
from anytime_server.api.anthropic.stream import KEEP_ALIVE, MessageEvents
from anytime_server.api.openapi import Body, whole_or_stream
from anytime_server.api.sse import collect, stream
from anytime_server.errors import InvalidRequest, NotSupported, UnknownModel
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session
from anytime_server.text.tool_calls import ToolCallReader
from anytime_server.types import GenerateRequest

TOLD = whole_or_stream(
    "The message, or its events where `stream` is true.",
    whole="A `message`; the thinking is a `thinking` block, whose signature is the continuation.",
    streamed="`message_start` and what follows; `message_delta` has the `anytime` object.",
)


class TokenCount(Body):
    input_tokens: int
    """Of the prompt, with thinking opened."""


def router(service: Scheduler) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(prefix="/v1/messages", tags=["anthropic"], responses=ERRORS)

    @routes.post("", responses=TOLD)
    async def messages(body: MessagesRequest, request: Request) -> Response:
        """A message whose thinking keeps to a budget."""
        service.require_ready()  # before the window is looked at, which is not known until then
        question = body.question(window_tokens=service.engine.window_tokens, arrival=request.state.arrival)
        calls = await _calls(service, question)
        session = await _open(service, question, body)
        headers = {"request-id": session.request.id, "X-Request-Id": session.request.id}
        if body.stream:
            said = MessageEvents(
                continuation=session.continuation,
                omits_thinking=body.omits_thinking,
                calls=calls,
                most_calls=body.most_calls,
            )
            response = stream(session, said.encode, request_id=session.request.id, keep_alive=KEEP_ALIVE)
            response.headers.update(headers)
            return response
        transcript = await collect(session, request)
        written = await message(
            transcript, omits_thinking=body.omits_thinking, calls=calls, most_calls=body.most_calls
        )
        return JSONResponse(written, headers=headers)

    @routes.post("/count_tokens")
    async def count_tokens(body: Prompt, request: Request) -> TokenCount:
        """Count the tokens of a prompt, with thinking opened. With an API key it counts as a request."""
        service.require_ready()
        if body.model != service.model.name:
            raise UnknownModel(
                f"no model {body.model!r} is served here, only {service.model.name!r}", field="model"
            )
        if body.continued is not None:
            raise NotSupported("thinking to go on from is not counted", field=body.last_signature)
        turns, tools = body.turns(), body.called_tools()
        if tools and service.tool_parsing is None:
            raise NotSupported("tools are not served with this model", field="tools")
        if (account := request.state.arrival.account) is not None:
            account.count_request()
        prompt_ids = await asyncio.to_thread(service.model.prompt_ids, turns, tools=tools or None)
        return TokenCount(input_tokens=len(prompt_ids))

    return routes


async def _calls(service: Scheduler, question: GenerateRequest) -> ToolCallReader | None:
    """What reads the calls in the answer; None where there are no tools, or none can be called."""
    if not question.tools or service.tool_parsing is None:
        return None
    # In a thread: the first time it imports what reads them.
    return await asyncio.to_thread(service.tool_parsing.reader, question.tools)


async def _open(service: Scheduler, question: GenerateRequest, body: MessagesRequest) -> Session:
    """The session; what the service refuses is told of the field that it came in."""
    try:
        return await service.open(question)
    except InvalidRequest as error:
        if error.field == "continuation" and body.continued is not None:
            error.field = body.last_signature
        elif (error.field or "").startswith("answer.response_format"):
            error.field = f"{body.format_field}.schema"
        raise
