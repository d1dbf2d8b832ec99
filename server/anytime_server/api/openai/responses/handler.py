"""The endpoint of OpenAI's Responses API that answers, and its neighbours that only read the input."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse
from pydantic_core import to_json

from anytime_server.api.body_route import BodyRoute
from anytime_server.api.openai.errors import ERRORS
from anytime_server.api.openai.responses import stored
from anytime_server.api.openai.responses.background import BackgroundResponse
from anytime_server.api.openai.responses.encoder import ResponsesEncoder
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.openai.responses.store import ResponseStore, StoredResponse
from anytime_server.api.openapi import Body, whole_or_stream
from anytime_server.api.sse import STREAM_HEADERS, respond
from anytime_server.errors import NotSupported, UnservedEndpoint
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.types import GenerateRequest, RequestContext

RESPONSES = whole_or_stream(
    "The response, or its events where `stream` is true.",
    whole="A `response`; the thinking is an item of type `reasoning` in its `output`.",
    streamed="`response.created` and what follows; the response of the last has the `anytime` object.",
)


class InputTokens(Body):
    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
    """Tokens of the prompt, with thinking opened."""


def router(scheduler: Scheduler, store: ResponseStore) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(route_class=BodyRoute, prefix="/v1/responses", tags=["openai"], responses=ERRORS)

    @routes.post("", responses=RESPONSES)
    async def responses(body: ResponsesRequest, request: Request) -> Response:
        """A response whose thinking keeps to a budget."""
        context: RequestContext = request.state.context
        conversation = store.conversation(body, client=context.client, ignored=context.ignored)
        stores = store.is_on and body.store is not False
        if body.background and not stores:
            context.ignored.add("background", "needs a response that is stored")
        generate = body.to_generate_request(context, conversation=conversation)
        session = await scheduler.submit(generate)
        if not stores:
            return await respond([session], ResponsesEncoder(body, session), streams=bool(body.stream))
        kind = BackgroundResponse if body.background else StoredResponse
        kept = kind(session, conversation.items)
        encoder = ResponsesEncoder(body, session, stored=kept)
        store.add(kept)
        if not isinstance(kept, BackgroundResponse):
            return await respond([session], encoder, streams=bool(body.stream))
        kept.start(encoder)
        headers = {"X-Request-Id": session.request.id}
        if body.stream:
            return EventSourceResponse(kept.events(), headers={**STREAM_HEADERS, **headers})
        return Response(to_json(kept.current), media_type="application/json", headers=headers)

    @routes.post("/input_tokens")
    async def input_tokens(body: ResponsesRequest, request: Request) -> InputTokens:
        """Count the tokens of an input, with thinking opened. With an API key it counts as a request."""
        context: RequestContext = request.state.context
        conversation = store.conversation(body, client=context.client, ignored=context.ignored)
        generate = body.to_generate_request(context, conversation=conversation)
        _require_no_continuation(generate)
        return InputTokens(input_tokens=await scheduler.count_tokens(generate))

    @routes.post("/compact")
    async def compact() -> Response:
        """Always 404: a conversation is not compacted here."""
        raise UnservedEndpoint("compaction is not served: ask the model itself for a summary")

    routes.include_router(stored.router(store))
    return routes


def _require_no_continuation(generate: GenerateRequest) -> None:
    if generate.continuation is not None:
        raise NotSupported("resumed thinking is not counted", field=generate.name_of("continuation"))
