"""What can be asked for, under the wire's names, and the request's body made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


class Message(TypedDict):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: NotRequired[str | Sequence[Mapping[str, str]] | None]
    """Text, or parts `{"type": "text", "text": ...}`; only a turn of `tool_calls` may do without."""
    name: NotRequired[str]
    """Of a tool."""
    reasoning_content: NotRequired[str]
    """Earlier thinking of an assistant turn."""
    tool_calls: NotRequired[Sequence[Mapping[str, Any]]]
    """Calls that the assistant made in this turn."""
    tool_call_id: NotRequired[str]
    """The call that a tool's turn is the result of."""


Messages: TypeAlias = str | Sequence[Message] | Sequence[Mapping[str, Any]]
"""A conversation; a string is one message of the user's. Other mappings are sent as they are."""


class Budget(TypedDict, total=False):
    """How long to think; whichever is reached first."""

    tokens: int
    """The most thinking tokens; 0 answers at once. Exact."""
    deadline_ms: int
    """Milliseconds from the request's arrival by which the last token of the answer is due."""


class StopWhen(TypedDict):
    """Stop thinking once provisional answers agree."""

    stable: int
    """How many in a row must."""
    every_tokens: int
    """Thinking tokens from one to the next."""
    min_confidence: NotRequired[float]
    """Mean probability of its tokens below which an answer agrees with none."""


class AnswerOptions(TypedDict, total=False):
    """How the answer is sampled."""

    max_tokens: int
    """The most tokens of the answer; room for them is kept in the window."""
    temperature: float
    response_format: Mapping[str, Any]
    """`{"type": "json_object"}`, or `{"type": "json_schema", "json_schema": {"schema": {...}}}`."""
    forcing: Literal["close", "force"]
    """At a cut, only `close` the thinking, or `force` the lead-in that the model was trained with."""


class ThinkingOptions(TypedDict, total=False):
    """How the thinking is sampled."""

    temperature: float
    top_p: float
    seed: int
    """Makes the whole request repeatable."""


class Options(TypedDict, total=False):
    """What `think` takes beside the messages. None is the same as not given."""

    model: str | None
    """Name of the model; may be left out."""
    budget: int | Budget | None
    """Thinking tokens, or an object with `tokens` and `deadline_ms`. Absent: all that fits."""
    budgets: Sequence[int] | None
    """Provisional answers at these numbers of thinking tokens, while the thinking goes on."""
    stop_when: StopWhen | None
    """Stop once provisional answers, given for this, agree."""
    answer: AnswerOptions | None
    thinking: ThinkingOptions | None
    continuation: str | None
    """From an earlier `Result` or `Done`: think on from there, the budget counted on top."""


def body(messages: Messages, options: Options) -> dict[str, Any]:
    """The request's body: fields that were not given are not sent."""
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    given = {name: value for name, value in options.items() if value is not None}
    return {"messages": turns, **given, "stream": True}
