"""The endpoint of completions."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from anytime_server.api.body_route import BodyRoute
from anytime_server.api.openai.completions.encoder import CompletionEncoder
from anytime_server.api.openai.completions.schema import CompletionRequest
from anytime_server.api.openai.errors import ERRORS
from anytime_server.api.openapi import whole_or_stream
from anytime_server.api.sse import respond
from anytime_server.scheduler.scheduler import Scheduler

RESPONSES = whole_or_stream(
    "The completion, or its chunks where `stream` is true.",
    whole="A `text_completion`, with the choices of the first prompt, then those of the next.",
    streamed="`text_completion`s with a part of one choice each, then `[DONE]`.",
)


def router(scheduler: Scheduler) -> APIRouter:
    """The endpoint of this dialect."""
    routes = APIRouter(route_class=BodyRoute, prefix="/v1", tags=["openai"], responses=ERRORS)

    @routes.post("/completions", responses=RESPONSES)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Completions of texts without a chat template."""
        context, model = request.state.context, scheduler.model
        generate = body.to_generate_requests(context)
        sessions = await scheduler.submit_all(generate, body.num_choices)
        decode = model.tokenizer.decode
        prompts = [one if isinstance(one, str) else decode(one, keeps_special=True) for one in body.prompt]
        encoder = CompletionEncoder(
            body.num_choices,
            prompts=prompts,
            echoes=body.echo,
            shows_answer=body.max_tokens != 0,
            shows_usage=body.streams_usage or not body.stream,
            think_end=model.manifest.think_end,
            ignored=context.ignored,
        )
        return await respond(sessions, encoder, streams=body.stream)

    return routes
