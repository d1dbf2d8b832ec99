"""The endpoints of Anthropic's Messages API."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from anytime_server.api.anthropic.encoder import MessagesEncoder
from anytime_server.api.anthropic.errors import ERRORS
from anytime_server.api.anthropic.schema import MessagesRequest, Prompt
from anytime_server.api.body_route import BodyRoute
from anytime_server.api.openapi import Body, whole_or_stream
from anytime_server.api.sse import respond
from anytime_server.scheduler.scheduler import Scheduler

RESPONSES = whole_or_stream(
    "The message, or its events where `stream` is true.",
    whole="A `message`; the thinking is a `thinking` block, whose signature is the continuation.",
    streamed="`message_start` and what follows; `message_delta` has the `anytime` object.",
)


class TokenCount(Body):
    input_tokens: int
    """Tokens of the prompt, with thinking opened."""


def router(scheduler: Scheduler) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(route_class=BodyRoute, prefix="/v1/messages", tags=["anthropic"], responses=ERRORS)

    @routes.post("", responses=RESPONSES)
    async def messages(body: MessagesRequest, request: Request) -> Response:
        """A message whose thinking keeps to a budget."""
        generate = body.to_generate_request(request.state.context)
        session = await scheduler.submit(generate)
        encoder = MessagesEncoder(omits_thinking=body.omits_thinking, ignored=generate.context.ignored)
        headers = {"request-id": session.request.id}
        return await respond([session], encoder, streams=body.stream, headers=headers)

    @routes.post("/count_tokens")
    async def count_tokens(body: Prompt, request: Request) -> TokenCount:
        """Count the tokens of a prompt, with thinking opened. With an API key it counts as a request."""
        prompt = body.to_prompt_request(request.state.context)
        return TokenCount(input_tokens=await scheduler.count_tokens(prompt))

    return routes
