"""The native dialect: `/v1/anytime` and its controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, StrictBool, StrictStr

from anytime_server.api.openapi import Body, error_responses, event_stream
from anytime_server.api.schema.fields import (
    AtLeastOne,
    Budget,
    BudgetFields,
    Budgets,
    Fields,
    ResponseFormat,
    Seed,
    StopWhenFields,
    Temperature,
    TopP,
)
from anytime_server.api.schema.messages import Conversation
from anytime_server.api.sse import Transcript, collect, stream
from anytime_server.errors import AnytimeError
from anytime_server.reasoning import Forcing
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.session import events
from anytime_server.types import (
    ANSWER_TEMPERATURE,
    THINKING_TEMPERATURE,
    THINKING_TOP_P,
    GenerateRequest,
    RequestContext,
)


class ThinkingFields(Fields):
    """How the thinking is sampled."""

    temperature: Temperature = THINKING_TEMPERATURE
    top_p: TopP = THINKING_TOP_P
    seed: Seed | None = None
    """Makes the whole request repeatable."""


class AnswerFields(Fields):
    """How the answer is sampled."""

    max_tokens: AtLeastOne | None = None
    """The most tokens of the answer; room for them is kept in the window. Default: the model's."""
    temperature: Temperature = ANSWER_TEMPERATURE
    response_format: ResponseFormat | None = None
    """`{"type": "json_object"}`, or a schema as OpenAI writes it; the thinking is free."""
    forcing: Forcing | None = None
    """How the model is brought to answer at a cut: `close` the thinking and leave the rest to it, or `force`
    the lead-in that it was trained with. Default: the model's."""


class AnytimeRequest(Conversation):
    """A question, and how long to think about it."""

    model: StrictStr | None = None
    """Name of the model; may be left out."""
    budget: Budget = None
    """Thinking tokens, or an object with `tokens` and `deadline_ms`. Absent: all that fits."""
    thinking: ThinkingFields = Field(default_factory=ThinkingFields)
    answer: AnswerFields = Field(default_factory=AnswerFields)
    stream: StrictBool = True
    """Server-sent events; false gives one JSON body at the end."""
    budgets: Budgets | None = None
    """Provisional answers at these numbers of thinking tokens, while the thinking goes on."""
    stop_when: StopWhenFields | None = None
    """Stop once provisional answers, given for this, agree."""
    continuation: StrictStr | None = None
    """From an earlier `done`: think on from there, the budget counted on top."""

    def question(self, *, arrival: RequestContext) -> GenerateRequest:
        """The request in no dialect.

        Raises:
            InvalidRequest: naming the field.
        """
        budget, response_format = self.budget or BudgetFields(), self.answer.response_format
        return GenerateRequest(
            messages=self.turns(),
            model=self.model,
            budget_tokens=budget.tokens,
            deadline_s=budget.deadline_s,
            budgets=tuple(self.budgets or ()),
            stop_when=self.stop_when and self.stop_when.settled(),
            continuation=self.continuation,
            answer_tokens=self.answer.max_tokens,
            thinking_temperature=self.thinking.temperature,
            thinking_top_p=self.thinking.top_p,
            answer_temperature=self.answer.temperature,
            forcing=self.answer.forcing,
            json_schema=response_format and response_format.schema_text,
            seed=self.thinking.seed,
            arrival=arrival,
        )


class ExtendRequest(Fields):
    tokens: AtLeastOne
    """Thinking tokens more than the budget so far."""


class AnytimeResponse(events.Outcome):
    """The whole of a session in one body."""

    model: str
    thinking: str
    answers: list[events.Answer]


class AnswerNowResponse(Body):
    id: str
    at_tokens: int
    """Thinking tokens that the answer is based on."""


class ExtendResponse(Body):
    id: str
    budget_tokens: int
    """The budget from now on; no more than the window has room for."""
    at_tokens: int
    """Thinking tokens sampled so far."""


class ErrorResponse(Body):
    error: events.ErrorDetail


ERRORS = error_responses(ErrorResponse)
EVENTS: dict[str, Any] = {
    "description": "Server-sent events, or one body where `stream` is false.",
    "content": event_stream(events.Event),
}


def error_response(error: AnytimeError, request_id: str) -> JSONResponse:
    """An error as this dialect tells it."""
    body = ErrorResponse(error=events.ErrorDetail.of(error))
    return JSONResponse(body.model_dump(), status_code=error.status)


def encode(batch: Sequence[events.Event]) -> bytes:
    """Events on the wire, `event:` equal to their type."""
    # Written by hand: FastAPI's formatter takes U+2028, U+2029 and U+0085 for line ends.
    return "".join(f"event: {e.type}\ndata: {e.model_dump_json()}\n\n" for e in batch).encode()


def router(service: Scheduler) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(prefix="/v1/anytime", tags=["anytime"], responses=ERRORS)

    @routes.post("", response_model=AnytimeResponse, responses={200: EVENTS})
    async def think(body: AnytimeRequest, request: Request) -> Response:
        """Think to a budget, then answer.

        Streams server-sent events: `started`, any number of `thinking`, answers (each `answer.started`,
        `answer.delta`..., `answer.done`; provisional ones between the thinking, the final one after it), then
        exactly one of `done` and `error`. With `stream` false, one body at the end.
        """
        session = await service.open(body.question(arrival=request.state.arrival))
        if body.stream:
            return stream(session, encode, request_id=session.request.id)
        return _whole(await collect(session, request))

    @routes.post("/{session_id}/answer", status_code=202)
    async def answer_now(session_id: str, request: Request) -> AnswerNowResponse:
        """Stop thinking and answer from what there is."""
        session = service.find(session_id, account=request.state.arrival.account)
        return AnswerNowResponse(id=session_id, at_tokens=session.answer_now())

    @routes.post("/{session_id}/extend", status_code=202)
    async def extend(session_id: str, body: ExtendRequest, request: Request) -> ExtendResponse:
        """Move the budget while it thinks: let it think for so many tokens more."""
        budget_tokens, at_tokens = service.extend(
            session_id, body.tokens, account=request.state.arrival.account
        )
        return ExtendResponse(id=session_id, budget_tokens=budget_tokens, at_tokens=at_tokens)

    @routes.delete("/{session_id}", status_code=204)
    async def cancel(session_id: str, request: Request) -> None:
        """End a session; its stream ends with an error event of code `cancelled`."""
        service.find(session_id, account=request.state.arrival.account).cancel()

    return routes


def _whole(transcript: Transcript) -> JSONResponse:
    body = AnytimeResponse(
        **transcript.done.model_dump(exclude={"type"}),
        model=transcript.model,
        thinking=transcript.thinking,
        answers=[events.Answer(**answer.model_dump(exclude={"type"})) for answer in transcript.answers],
    )
    return JSONResponse(body.model_dump(mode="json"), headers={"X-Request-Id": transcript.done.id})
