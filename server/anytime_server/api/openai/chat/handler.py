"""The endpoint of chat completions, and llama.cpp's control of those under way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

from fastapi import APIRouter, Request
from fastapi.responses import Response

from anytime_server.api.body_route import BodyRoute
from anytime_server.api.openai.chat.encoder import ChatEncoder
from anytime_server.api.openai.chat.schema import ChatRequest, ControlRequest
from anytime_server.api.openai.errors import ERRORS
from anytime_server.api.openapi import Body, whole_or_stream
from anytime_server.api.sse import respond
from anytime_server.auth import Account
from anytime_server.errors import AlreadyAnswering
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import Session
from anytime_server.types import ReasoningField

RESPONSES = whole_or_stream(
    "The completion, or its chunks where `stream` is true.",
    whole="A `chat.completion`; the thinking is its message's `reasoning_content`.",
    streamed="`chat.completion.chunk`s, the last with the `anytime` object, then `[DONE]`.",
)
NOT_UNDER_WAY = "no active completion for this id"


class ControlResponse(Body):
    success: bool
    message: str | None = None
    """Why not."""


class Completion:
    """The sessions of a completion under way, one for each choice."""

    def __init__(self, sessions: Sequence[Session], *, is_controllable: bool) -> None:
        """
        Args:
            is_controllable: whether `end_thinking()` may end their thinking.
        """
        self._sessions = sessions
        self._is_controllable = is_controllable

    def end_thinking(self, account: Account | None) -> str | None:
        """Have all choices that think answer now.

        Args:
            account: of the caller; must be that of the completion.

        Returns:
            Why none does, or None.
        """
        context = self._sessions[0].request.context
        if not context.is_from(account) or all(session.phase == "ended" for session in self._sessions):
            return NOT_UNDER_WAY
        if not self._is_controllable:
            return "reasoning control not enabled for this completion"
        num_truncated = 0
        for session in self._sessions:
            with suppress(AlreadyAnswering):
                session.answer_now()
                num_truncated += 1
        return None if num_truncated else "the completion is answering already"


def router(scheduler: Scheduler, *, reasoning_field: ReasoningField) -> APIRouter:
    """The endpoints of this dialect.

    Args:
        reasoning_field: where the thinking is, unless the request says otherwise.
    """
    routes = APIRouter(route_class=BodyRoute, prefix="/v1", tags=["openai"], responses=ERRORS)
    under_way: WeakValueDictionary[str, Completion] = WeakValueDictionary()
    """By id, as long as their responses are sent."""

    @routes.post("/chat/completions", responses=RESPONSES)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """A chat completion whose thinking keeps to a budget."""
        generate = body.to_generate_request(request.state.context)
        sessions = await scheduler.submit_choices(generate, body.num_choices)
        completion = Completion(sessions, is_controllable=body.reasoning_control is not False)
        under_way[sessions[0].request.id] = request.state.completion = completion
        encoder = ChatEncoder(
            len(sessions),
            place=body.thinking_place(reasoning_field),
            usage=body.streamed_usage if body.stream else "last chunk",
            has_tools=bool(generate.tools),
            names_tool=body.names_tool,
            ignored=generate.context.ignored,
            echoed_text=body.echoed_text,
        )
        return await respond(sessions, encoder, streams=body.stream)

    @routes.post("/chat/completions/control", response_model_exclude_none=True)
    async def control(body: ControlRequest, request: Request) -> ControlResponse:
        """End the thinking of a completion that is under way, all its choices; it answers then."""
        completion = under_way.get(body.id)
        account = request.state.context.account
        refused = NOT_UNDER_WAY if completion is None else completion.end_thinking(account)
        return ControlResponse(success=refused is None, message=refused)

    return routes
