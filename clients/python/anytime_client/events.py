"""What a session says, as the client hands it on: the wire's events with types, and the whole, a `Result`.

Knows nothing of how they come. Fields that a later version of the server adds are kept in `model_extra`, and
events that it adds are `UnknownEvent`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Cause: TypeAlias = Literal["natural", "budget", "deadline", "client", "stable", "load", "context"]
"""Why the thinking stopped: the model ended it, its budget was used up, the deadline came near, somebody
asked for the answer, the answers agreed, the server was under load, or the window was full."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)


class ResolvedBudget(_Record):
    """The budget that applies."""

    tokens: int
    """The most thinking tokens that may be sampled."""
    deadline_ms: int | None
    """Milliseconds from arrival by which the last token of the answer is due."""


class Stop(_Record):
    """Why the thinking stopped."""

    cause: Cause | str
    """Another string where a later version of the server has another cause."""
    budget_tokens: int
    """Budget that applied, in tokens."""
    thinking_tokens: int
    """Tokens sampled as thinking."""


class Usage(_Record):
    """Tokens, counted exactly."""

    prompt_tokens: int
    thinking_tokens: int
    """Sampled as thinking."""
    inserted_tokens: int
    """Put in at the cut."""
    answer_tokens: int
    """Sampled for the answer."""
    provisional_tokens: int
    """Sampled as provisional answers."""
    cached_tokens: int
    """Of the answer's prompt, found in the prefix cache."""


class Timing(_Record):
    """Seconds; all but `cut_to_answer_s` from the request's arrival at the server."""

    time_to_first_token_s: float
    """To the first token sampled, of thinking or answer."""
    cut_to_answer_s: float
    """From the end of the thinking to the first token of the answer."""
    time_to_answer_s: float
    """To the first token of the answer."""
    total_s: float
    """To the last token of the answer."""


class Answer(_Record):
    """A whole answer."""

    index: int
    """Of the answer within its session."""
    at_tokens: int
    """Thinking tokens that the answer is based on."""
    provisional: bool
    """Given while the thinking went on."""
    text: str
    answer_tokens: int
    confidence: float
    """Mean probability of its tokens, 0 to 1."""
    finish_reason: Literal["stop", "length"] | str
    """`length`: cut at the most tokens that an answer may have."""


class Outcome(_Record):
    """How a session ended."""

    id: str
    stop: Stop
    answer: str
    """The final one."""
    usage: Usage
    timing: Timing
    continuation: str | None = None
    """To be given to `think` for thinking on from there."""


class Result(Outcome):
    """The whole of a session."""

    model: str
    thinking: str
    answers: tuple[Answer, ...]
    """By the thinking that they are based on; the final one is the last."""


class Started(_Record):
    """The first event."""

    type: Literal["started"] = "started"
    id: str
    """Names the session for `answer_now`, `extend` and `cancel`."""
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
    """The first of an answer; the `index` tells answers apart."""

    type: Literal["answer.started"] = "answer.started"
    index: int
    at_tokens: int
    """Thinking tokens that the answer is based on."""
    provisional: bool
    """The thinking goes on."""
    cause: Cause | str | None
    """Why the thinking stopped; None for a provisional answer."""


class AnswerDelta(_Record):
    """A piece of an answer."""

    type: Literal["answer.delta"] = "answer.delta"
    index: int
    text: str


class AnswerDone(Answer):
    """The last of an answer: the whole of it."""

    type: Literal["answer.done"] = "answer.done"


class Done(Outcome):
    """The last event."""

    type: Literal["done"] = "done"


class UnknownEvent(BaseModel):
    """An event of a later version of the server."""

    model_config = ConfigDict(frozen=True)

    type: Literal["unknown"] = "unknown"
    raw: dict[str, Any]
    """The event as it came, its own type in `type`."""


Event: TypeAlias = Started | Thinking | AnswerStarted | AnswerDelta | AnswerDone | Done | UnknownEvent

KNOWN: dict[str, type[Started | Thinking | AnswerStarted | AnswerDelta | AnswerDone | Done]] = {
    "started": Started,
    "thinking": Thinking,
    "answer.started": AnswerStarted,
    "answer.delta": AnswerDelta,
    "answer.done": AnswerDone,
    "done": Done,
}
