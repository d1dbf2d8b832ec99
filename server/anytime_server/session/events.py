"""What a session says, in order. The native dialect sends these as they are.

`started`, any number of `thinking`, answers (each `answer.started`, `answer.delta`..., `answer.done`;
provisional ones between the thinking, the final one after it), then exactly one of `done` and `error`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from anytime_server.errors import AnytimeError
from anytime_server.reasoning import Cause


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ResolvedBudget(_Record):
    """The budget that applies."""

    tokens: int
    """The most thinking tokens that may be sampled."""
    deadline_ms: int | None
    """Milliseconds from arrival by which the last answer token is due."""


class Stop(_Record):
    """Why the thinking stopped."""

    cause: Cause
    budget_tokens: int
    """Budget that applied, in tokens."""
    thinking_tokens: int
    """Tokens sampled as thinking, a sampled think-end included."""


class Usage(_Record):
    """Tokens, counted exactly."""

    prompt_tokens: int
    """Prompt, with thinking opened."""
    thinking_tokens: int
    """Sampled as thinking."""
    inserted_tokens: int
    """Put in at the cut."""
    answer_tokens: int
    """Sampled for the answer, an end-of-turn token and any blank tries before it included."""
    provisional_tokens: int
    """Sampled as provisional answers."""
    cached_tokens: int
    """Of the answer's prompt (prompt, thinking, inserted), found in the prefix cache."""
    prompt_cached_tokens: int = Field(default=0, exclude=True)
    """Of the prompt, found in the prefix cache when the request came. Not in the native dialect."""


class Timing(_Record):
    """Seconds; all but `cut_to_answer_s` from the request's arrival."""

    time_to_first_token_s: float
    """To the first token sampled, of thinking or answer."""
    cut_to_answer_s: float
    """From the end of the thinking to the first token of the answer."""
    time_to_answer_s: float
    """To the first token of the answer."""
    total_s: float
    """To the last token of the answer."""


class Started(_Record):
    type: Literal["started"] = "started"
    id: str
    """Names the session for `/answer`, `/extend` and `DELETE`."""
    model: str
    budget: ResolvedBudget
    prompt_tokens: int


class ThinkingDelta(_Record):
    type: Literal["thinking"] = "thinking"
    text: str
    total_tokens: int
    """Thinking tokens sampled so far."""


class AnswerStarted(_Record):
    type: Literal["answer.started"] = "answer.started"
    index: int
    at_tokens: int
    """Thinking tokens that the answer is based on."""
    provisional: bool
    cause: Cause | None
    """Why the thinking stopped; null for a provisional answer."""


class AnswerToken(_Record):
    """A token of an answer and how likely it was. Not in the native dialect."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]
    """The likeliest tokens at its place, with their log-probabilities, likeliest first."""


class AnswerDelta(_Record):
    type: Literal["answer.delta"] = "answer.delta"
    index: int
    text: str
    """What is new of it; empty only where there are `tokens` to tell."""
    tokens: tuple[AnswerToken, ...] = Field(default=(), exclude=True)
    """The tokens behind the text, where log-probabilities were asked for."""
    provisional: bool = Field(default=False, exclude=True)
    """Of a provisional answer; the native dialect tells by the index."""


class Answer(_Record):
    """A whole answer."""

    index: int
    at_tokens: int
    provisional: bool
    text: str
    answer_tokens: int
    confidence: float | SkipJsonSchema[None]  # None for those dialects that do not tell it
    """Mean probability of its tokens, 0 to 1."""
    finish_reason: Literal["stop", "length"]
    """`length`: cut at the most tokens that an answer may have."""
    stop_sequence: str | None = Field(default=None, exclude=True)
    """The client's stop string that ended it."""


class _AnswerDoneType(_Record):
    type: Literal["answer.done"] = "answer.done"


class AnswerDone(Answer, _AnswerDoneType):  # the type is inherited last so that it is written first
    """The last of an answer: the whole of it."""


class Outcome(_Record):
    """How a session ended."""

    id: str
    stop: Stop
    answer: str
    usage: Usage
    timing: Timing
    continuation: str | None = None
    """To be sent back for thinking on from there."""


class _DoneType(_Record):
    type: Literal["done"] = "done"


class Done(Outcome, _DoneType):
    """The end of a session that went well."""


class ErrorDetail(_Record):
    code: str
    """Stable, for programs."""
    message: str
    """For people."""
    field: str | None = None
    """The request field at fault."""

    @classmethod
    def of(cls, error: AnytimeError) -> ErrorDetail:
        return cls(code=error.code, message=str(error), field=error.field)


class ErrorEvent(_Record):
    type: Literal["error"] = "error"
    error: ErrorDetail


Event = Annotated[
    Started | ThinkingDelta | AnswerStarted | AnswerDelta | AnswerDone | Done | ErrorEvent,
    Field(discriminator="type"),
]
