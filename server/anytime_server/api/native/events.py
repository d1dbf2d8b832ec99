"""Events of the native dialect, as they stand on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from anytime_server.api.schema.outcome import Record, Stop, Timing, Usage
from anytime_server.errors import AnytimeError
from anytime_server.reasoning import Cause


class ResolvedBudget(Record):
    """The budget that applies."""

    tokens: int
    """The most thinking tokens that may be sampled, but for the grace."""
    grace: int = Field(default=0, exclude_if=lambda grace: grace == 0)
    """The most tokens over the budget, to the end of a sentence; absent if there are none."""
    deadline_ms: int | None
    """Milliseconds from the request's arrival by which the last answer token is due."""


class Started(Record):
    type: Literal["started"] = "started"
    id: str
    """Names the session for `/answer`, `/extend` and `DELETE`."""
    model: str
    budget: ResolvedBudget
    prompt_tokens: int


class ThinkingDelta(Record):
    type: Literal["thinking"] = "thinking"
    text: str
    total_tokens: int
    """Thinking tokens sampled until now."""


class AnswerStarted(Record):
    type: Literal["answer.started"] = "answer.started"
    index: int
    at_tokens: int
    """Thinking tokens that the answer is based on."""
    provisional: bool
    """An early answer: the thinking goes on."""
    cause: Cause | None
    """Why the thinking stopped; null for a provisional answer."""


class AnswerDelta(Record):
    type: Literal["answer.delta"] = "answer.delta"
    index: int
    text: str
    """New text of the answer."""


class Answer(Record):
    """A whole answer."""

    index: int
    at_tokens: int
    provisional: bool
    text: str
    answer_tokens: int
    confidence: float
    """Mean probability of its tokens, 0 to 1."""
    finish_reason: Literal["stop", "length"]
    """`length`: truncated at the most tokens that an answer may have, or an answer that does not match its
    schema."""


class _AnswerDoneType(Record):
    type: Literal["answer.done"] = "answer.done"


class AnswerDone(Answer, _AnswerDoneType):  # the type is inherited last so that it is written first
    """The last event of an answer: the whole of it."""


class Outcome(Record):
    """How a session ended."""

    id: str
    stop: Stop
    answer: str
    usage: Usage
    timing: Timing
    continuation: str | None = None
    """To be sent back to resume the thinking."""


class _DoneType(Record):
    type: Literal["done"] = "done"


class Done(Outcome, _DoneType):
    """The end of a session that went well."""


class ErrorDetail(Record):
    code: str
    """Stable, for programs."""
    message: str
    """For people."""
    field: str | None = None
    """The request field at fault."""

    @classmethod
    def of(cls, error: AnytimeError) -> ErrorDetail:
        return cls(code=error.code, message=str(error), field=error.field)


class ErrorEvent(Record):
    """The end of a session that failed."""

    type: Literal["error"] = "error"
    error: ErrorDetail


Event = Annotated[
    Started | ThinkingDelta | AnswerStarted | AnswerDelta | AnswerDone | Done | ErrorEvent,
    Field(discriminator="type"),
]


class AnytimeResponse(Outcome):
    """The whole of a session in one body."""

    model: str
    thinking: str
    answers: list[Answer]
    """In the order of the thinking that they are based on; the final answer is the last."""
