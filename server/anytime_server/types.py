"""Nouns that every layer shares: a request's context, and the request in no dialect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from anytime_server.auth import Account
from anytime_server.reasoning import Forcing

THINKING_TEMPERATURE, THINKING_TOP_P = 0.6, 0.95
ANSWER_TEMPERATURE, ANSWER_TOP_P = 0.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What is known of a request before its body is read."""

    at: float = field(default_factory=time.monotonic)
    """`time.monotonic()` when it came in; deadlines count from here."""
    request_id: str | None = None
    """The client's own `X-Request-Id`, or one that the server made up; None without HTTP."""
    account: Account | None = None
    """Who asks, as the API key tells; None where no keys are asked for."""
    traceparent: str | None = None
    """W3C trace context: what the request is a part of."""
    tracestate: str | None = None
    """The same, as the vendors of the client's tracing put it."""

    @property
    def client(self) -> str:
        """Name of who asks; empty where no keys are asked for."""
        return self.account.name if self.account else ""

    def is_from(self, account: Account | None) -> bool:
        """Whether that account asked; by name, since keys can be read anew."""
        return (self.account and self.account.name) == (account and account.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWhen:
    """When answers are taken to have settled."""

    stable: int
    """Provisional answers in a row that must agree, at least 2."""
    every_tokens: int
    """Thinking tokens from one of them to the next."""
    min_confidence: float = 0.0
    """Mean probability of its tokens below which an answer agrees with none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
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
    arrival: RequestContext = field(default_factory=RequestContext)
    """When it came, and from whom."""
