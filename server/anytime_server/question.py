"""A request in no dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from anytime_server.arrival import Arrival
from anytime_server.reasoning import Forcing
from anytime_server.session import StopWhen

THINKING_TEMPERATURE, THINKING_TOP_P = 0.6, 0.95
ANSWER_TEMPERATURE, ANSWER_TOP_P = 0.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request in no dialect: what to ask, and how long to think about it."""

    messages: Sequence[dict[str, Any]]
    """Turns with `role` and `content`, as the chat template takes them."""
    model: str | None = None
    """Name that the client used; None for whatever is served."""
    budget_tokens: int | None = None
    """The most thinking tokens; None for all that fits."""
    deadline_s: float | None = None
    """Seconds from its arrival by which the last answer token is due."""
    answer_tokens: int | None = None
    """The most tokens of the answer; None for the manifest's."""
    budgets: tuple[int, ...] = ()
    """Thinking tokens at which to give provisional answers, ascending."""
    stop_when: StopWhen | None = None
    """Stop the thinking when provisional answers agree."""
    continuation: str | None = None
    """Thinking of an earlier session to go on from, as it was given."""
    continued_text: str | None = None
    """Text that came with the continuation, to be held against it."""
    total_tokens: int | None = None
    """The most tokens of thinking and answer together, `answer_tokens` of them kept for the answer."""
    thinking_temperature: float = THINKING_TEMPERATURE
    thinking_top_p: float = THINKING_TOP_P
    answer_temperature: float = ANSWER_TEMPERATURE
    answer_top_p: float = ANSWER_TOP_P
    forcing: Forcing | None = None
    """How to bring the model to answer at a cut; None for the manifest's way."""
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    json_schema: str | None = None
    """JSON Schema, as JSON, that the answer must be an instance of."""
    top_logprobs: int | None = None
    """Report the answer's tokens, with so many of the likeliest at each place; None reports none."""
    tells_confidence: bool = True
    """Whether answers are to have a confidence, which takes the engine's time at each of their tokens."""
    tools: Sequence[dict[str, Any]] = ()
    """Functions that the model may call, as chat templates take them."""
    seed: int | None = None
    id_prefix: str = "any"
    """What the session's id begins with."""
    arrival: Arrival = field(default_factory=Arrival)
    """When it came, and from whom."""
