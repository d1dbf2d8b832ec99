"""The events of a session, typed as on the wire, and `Result`, the whole session.

Knows nothing about the transport. Fields added by a later version of the server are kept in `model_extra`;
event types added by it become `UnknownEvent`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Cause: TypeAlias = Literal["natural", "budget", "deadline", "client", "stable", "load", "context", "loop"]
"""The reason the thinking stopped: the model ended it, the budget was used up, the deadline was near, a
client requested the answer, the answers agreed, the server was under load, or the context window was full."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)


class ResolvedBudget(_Record):
    """The budget in effect."""

    tokens: int
    """Maximum number of thinking tokens."""
    grace: int = 0
    """Maximum number of tokens over them, to the end of a sentence."""
    deadline_ms: int | None
    """Milliseconds from the request's arrival until the last token of the answer is due."""


class Stop(_Record):
    """The end of the thinking."""

    cause: Cause | str
    """A cause added by a later version of the server is a string outside `Cause`."""
    budget_tokens: int
    """The budget in effect when the thinking stopped."""
    thinking_tokens: int
    """Thinking tokens sampled."""


class Usage(_Record):
    """Token counts."""

    prompt_tokens: int
    thinking_tokens: int
    """Thinking tokens sampled."""
    inserted_tokens: int
    """Tokens inserted at the truncation."""
    answer_tokens: int
    """Tokens of the final answer."""
    provisional_tokens: int
    """Tokens of all early answers."""
    cached_tokens: int
    """Tokens of the final answer's prompt that the prefix cache had."""


class Timing(_Record):
    """Seconds; all but `cut_to_answer_s` count from the request's arrival at the server."""

    time_to_first_token_s: float
    """Until the first token of thinking or answer."""
    cut_to_answer_s: float
    """From the end of the thinking to the first token of the answer."""
    time_to_answer_s: float
    """Until the first token of the answer."""
    total_s: float
    """Until the last token of the answer."""


class Answer(_Record):
    """A complete answer."""

    index: int
    """Number of the answer within its session."""
    at_tokens: int
    """Thinking tokens that the answer is based on."""
    provisional: bool
    """Whether this is an early answer, sampled while the thinking goes on."""
    text: str
    answer_tokens: int
    confidence: float
    """Mean probability of the answer's tokens, 0 to 1."""
    finish_reason: Literal["stop", "length"] | str
    """`length`: the answer reached its `max_tokens`."""


class Outcome(_Record):
    """The fields that `Done` and `Result` share."""

    id: str
    stop: Stop
    answer: str
    """Text of the final answer."""
    usage: Usage
    timing: Timing
    continuation: str | None = None
    """Token to pass to `think` to resume the thinking."""


class Result(Outcome):
    """A whole session."""

    model: str
    thinking: str
    answers: tuple[Answer, ...]
    """Ordered by `at_tokens`; the final answer is the last."""


class Started(_Record):
    """The first event."""

    type: Literal["started"] = "started"
    id: str
    """Id of the session, for `answer_now`, `extend` and `cancel`."""
    model: str
    budget: ResolvedBudget
    prompt_tokens: int


class Thinking(_Record):
    """A piece of the thinking."""

    type: Literal["thinking"] = "thinking"
    text: str
    total_tokens: int
    """Thinking tokens sampled so far."""


class AnswerStarted(_Record):
    """The start of an answer; `index` identifies it within the session."""

    type: Literal["answer.started"] = "answer.started"
    index: int
    at_tokens: int
    """Thinking tokens that the answer is based on."""
    provisional: bool
    """Whether this is an early answer, sampled while the thinking goes on."""
    cause: Cause | str | None
    """The reason the thinking stopped; None for an early answer."""


class AnswerDelta(_Record):
    """A piece of an answer."""

    type: Literal["answer.delta"] = "answer.delta"
    index: int
    text: str


class AnswerDone(Answer):
    """The end of an answer, with the complete text."""

    type: Literal["answer.done"] = "answer.done"


class Done(Outcome):
    """The last event of a successful session."""

    type: Literal["done"] = "done"


class UnknownEvent(BaseModel):
    """An event type added by a later version of the server."""

    model_config = ConfigDict(frozen=True)

    type: Literal["unknown"] = "unknown"
    raw: dict[str, Any]
    """The event as received; its own type is in `raw["type"]`."""


Event: TypeAlias = Started | Thinking | AnswerStarted | AnswerDelta | AnswerDone | Done | UnknownEvent

EVENT_TYPES: dict[str, type[Started | Thinking | AnswerStarted | AnswerDelta | AnswerDone | Done]] = {
    "started": Started,
    "thinking": Thinking,
    "answer.started": AnswerStarted,
    "answer.delta": AnswerDelta,
    "answer.done": AnswerDone,
    "done": Done,
}
