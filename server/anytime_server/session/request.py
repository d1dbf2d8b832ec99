"""A compiled request: what a session does. Nothing in it can be refused any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anytime_server.reasoning import (
    Cause,
    Forcing,
    ReasoningFormat,
    TokenLimits,
    Truncation,
    truncate_thinking,
)
from anytime_server.text.tool_calls import ToolCallParser
from anytime_server.types import RequestContext, StopWhen


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """How answers are sampled, early ones and the final one."""

    temperature: float = 0.0
    top_p: float = 1.0
    forcing: Forcing = Forcing.FORCE
    """How the model is made to answer."""
    stop: tuple[str, ...] = ()
    """Strings before which an answer ends."""
    json_schema: str | None = None
    """JSON Schema, as JSON text, that the answer must match."""
    top_logprobs: int | None = None
    """Report answer tokens with this many of the likeliest alternatives each; None reports no tokens."""
    with_confidence: bool = True
    """Report the mean probability of its tokens."""
    tool_parser: ToolCallParser | None = None
    """Reads tool calls out of answers; None where the model may call no tools."""

    @property
    def is_structured(self) -> bool:
        """Whether answers are JSON or may call tools: their lengths differ from those of plain answers."""
        return self.tool_parser is not None or self.json_schema is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRequest:
    """A request after compilation, on token ids."""

    id: str
    prompt_ids: list[int]
    """Conversation with thinking open at its end."""
    carried_ids: tuple[int, ...] = ()
    """Thinking of an earlier session that is resumed. The budget counts on top of it."""
    limits: TokenLimits
    budgets: tuple[int, ...] = ()
    """Thinking tokens at which to give early answers, ascending."""
    stop_when: StopWhen | None = None
    cache_salt: str = ""
    """Prefixes are shared in the engine's cache only with requests of the same salt."""
    adapter: str | None = None
    """LoRA adapter that the model thinks and answers with."""
    max_early_answers: int = 0
    """Early answers that may be sampled at the same time."""
    thinking_temperature: float
    thinking_top_p: float
    answer: AnswerOptions
    seed: int | None
    """Makes thinking and answer repeatable."""
    context: RequestContext

    @property
    def arrived_at(self) -> float:
        """`time.monotonic()` of the request's arrival; deadlines count from here."""
        return self.context.arrived_at

    @property
    def num_context_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.carried_ids)

    @property
    def context_ids(self) -> list[int]:
        """Token ids that the thinking continues."""
        return [*self.prompt_ids, *self.carried_ids]

    def truncate(self, thinking_ids: Sequence[int], cause: Cause, reasoning: ReasoningFormat) -> Truncation:
        """Close the thinking sampled for this request, after what it carries."""
        return truncate_thinking(
            [*self.carried_ids, *thinking_ids],
            reasoning,
            cause=cause,
            forcing=self.answer.forcing,
            num_carried_tokens=len(self.carried_ids),
            tool_start_ids=self.tool_start_ids,
        )

    @property
    def tool_start_ids(self) -> frozenset[int]:
        """Tokens that begin a tool call, which ends the thinking."""
        parser = self.answer.tool_parser
        return parser.start_ids if parser is not None else frozenset()
