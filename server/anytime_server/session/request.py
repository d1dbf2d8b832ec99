"""What a session is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.reasoning import Budget, Forcing
from anytime_server.types import RequestContext, StopWhen


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRequest:
    """How answers are sampled, provisional ones and the last."""

    temperature: float = 0.0
    top_p: float = 1.0
    forcing: Forcing = Forcing.FORCE
    """How the model is brought to answer."""
    stop: tuple[str, ...] = ()
    """Texts before which an answer ends."""
    json_schema: str | None = None
    """JSON Schema, as JSON, that it must be an instance of."""
    top_logprobs: int | None = None
    """Report its tokens, with so many of the likeliest at each place; None reports none."""
    tells_confidence: bool = True
    """Tell the mean probability of its tokens."""
    keeps_special_tokens: bool = False
    """Show tokens that are no text, but for those of thinking and of the end of a turn."""
    is_structured: bool = False
    """Whether it is JSON or may call tools: of another length than plain answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRequest:
    """A request, resolved: nothing in it can be refused any more."""

    id: str
    prompt_ids: list[int]
    """Conversation with thinking open at its end."""
    carried_ids: tuple[int, ...] = ()
    """Thinking of an earlier request, to think on from. The budget counts on top of it."""
    budget: Budget
    budgets: tuple[int, ...] = ()
    """Thinking tokens at which to give provisional answers, ascending."""
    stop_when: StopWhen | None = None
    num_forks: int = 0
    """Provisional answers that may be sampled at the same time."""
    thinking_temperature: float
    thinking_top_p: float
    answer: AnswerRequest
    tool_start_ids: frozenset[int] = frozenset()
    """Tokens that begin a tool call, before which thinking ends."""
    seed: int | None
    """Makes thinking and answer repeatable."""
    arrival: RequestContext
    """When it came, and from whom."""

    @property
    def arrived_at(self) -> float:
        """`time.monotonic()` when the request came in; deadlines count from here."""
        return self.arrival.at

    @property
    def num_context_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.carried_ids)

    @property
    def context_ids(self) -> list[int]:
        """What the thinking continues."""
        return [*self.prompt_ids, *self.carried_ids]
