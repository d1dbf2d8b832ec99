"""The native dialect: `/v1/anytime` and its controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, StrictBool, StrictInt, StrictStr

from anytime_server import events
from anytime_server.api.fields import AtLeastOne, Budget, BudgetFields, Fields, Seed, Temperature, TopP
from anytime_server.api.messages import Conversation
from anytime_server.api.respond import Transcript, collect, stream
from anytime_server.errors import AnytimeError, NotSupported
from anytime_server.service import (
    ANSWER_TEMPERATURE,
    THINKING_TEMPERATURE,
    THINKING_TOP_P,
    Question,
    Service,
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
    response_format: dict[str, Any] | None = None
    """Not served yet."""


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
    budgets: list[StrictInt] | None = None
    """Not served yet: provisional answers."""
    stop_when: dict[str, Any] | None = None
    """Not served yet: stop once answers agree."""
    continuation: StrictStr | None = None
    """Not served yet: think on from an earlier `done`."""

    def question(self, *, arrived_at: float) -> Question:
        """The request in no dialect.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        for field, value in (
            ("budgets", self.budgets),
            ("stop_when", self.stop_when),
            ("continuation", self.continuation),
            ("answer.response_format", self.answer.response_format),
        ):
            if value is not None:
                raise NotSupported(f"{field} is not served by this version", field=field)
        budget = self.budget or BudgetFields()
        return Question(
            messages=self.turns(),
            model=self.model,
            budget_tokens=budget.tokens,
            deadline_s=budget.deadline_s,
            answer_tokens=self.answer.max_tokens,
            thinking_temperature=self.thinking.temperature,
            thinking_top_p=self.thinking.top_p,
            answer_temperature=self.answer.temperature,
            seed=self.thinking.seed,
            arrived_at=arrived_at,
        )


class ExtendRequest(Fields):
    tokens: StrictInt


class AnytimeResponse(events.Outcome):
    """The whole of a session in one body."""

    model: str
    thinking: str
    answers: list[events.Answer]


class AnswerNowResponse(BaseModel):
    id: str
    at_tokens: int
    """Thinking tokens that the answer is based on."""


class ErrorResponse(BaseModel):
    error: events.ErrorDetail


def error_response(error: AnytimeError) -> JSONResponse:
    """An error as this dialect tells it."""
    body = ErrorResponse(error=events.ErrorDetail.of(error))
    return JSONResponse(body.model_dump(), status_code=error.status)


def encode(batch: Sequence[events.Event]) -> bytes:
    """Events on the wire, `event:` equal to their type."""
    # Written by hand: FastAPI's formatter takes U+2028, U+2029 and U+0085 for line ends.
    return "".join(f"event: {e.type}\ndata: {e.model_dump_json()}\n\n" for e in batch).encode()


def router(service: Service) -> APIRouter:
    """The endpoints of this dialect."""
    routes = APIRouter(prefix="/v1/anytime", tags=["anytime"], responses={"4XX": {"model": ErrorResponse}})

    @routes.post("", response_model=AnytimeResponse, response_model_exclude_none=False)
    async def think(body: AnytimeRequest, request: Request) -> Response:
        """Think to a budget, then answer. Streams server-sent events unless `stream` is false."""
        session = await service.open(body.question(arrived_at=request.state.arrived_at))
        if body.stream:
            return stream(session, encode)
        return _whole(await collect(session, request))

    @routes.post("/{session_id}/answer", status_code=202)
    async def answer_now(session_id: str) -> AnswerNowResponse:
        """Stop thinking and answer from what there is."""
        return AnswerNowResponse(id=session_id, at_tokens=service.find(session_id).answer_now())

    @routes.post("/{session_id}/extend", status_code=501, response_model=ErrorResponse)
    async def extend(session_id: str, body: ExtendRequest) -> None:
        """Not served yet: move the budget while it thinks."""
        service.find(session_id)
        raise NotSupported("extend is not served by this version", status=501)

    @routes.delete("/{session_id}", status_code=204)
    async def cancel(session_id: str) -> None:
        """End a session; its stream ends with an error event of code `cancelled`."""
        service.find(session_id).cancel()

    return routes


def _whole(transcript: Transcript) -> JSONResponse:
    body = AnytimeResponse(
        **transcript.done.model_dump(exclude={"type"}),
        model=transcript.model,
        thinking=transcript.thinking,
        answers=[events.Answer(**answer.model_dump(exclude={"type"})) for answer in transcript.answers],
    )
    return JSONResponse(body.model_dump(mode="json"), headers={"X-Request-Id": transcript.done.id})
