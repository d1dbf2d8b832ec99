"""A compiled request: what a session does. Nothing in it can be refused any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from anytime_server.engine.constraint import Constraint
from anytime_server.reasoning import (
    Cause,
    Forcing,
    LoopRule,
    ReasoningFormat,
    SamplingOptions,
    TokenLimits,
    Truncation,
    truncate_thinking,
)
from anytime_server.session.answer_check import AnswerCheck
from anytime_server.text.model import Model
from anytime_server.text.prompt import Prompt
from anytime_server.text.tool_calls import CallParser
from anytime_server.types import RequestContext, StopWhen


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """How answers are sampled, early ones and the final one."""

    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    """The client's options over the model's defaults."""
    forcing: Forcing = Forcing.FORCE
    """How the model is made to answer."""
    stop: tuple[str, ...] = ()
    """Strings before which an answer ends."""
    constraint: Constraint | None = None
    """The constraint of the answer's tokens, which the engine enforces."""
    check: AnswerCheck | None = None
    """Schemas that the answer must match beyond that."""
    top_logprobs: int | None = None
    """Report answer tokens with this many of the likeliest alternatives each; None reports no tokens."""
    with_confidence: bool = True
    """Report the mean probability of its tokens."""
    skip_special_tokens: bool = True
    """Leave special tokens out of the text."""
    tool_parser: CallParser | None = None
    """Reads tool calls out of answers; None where the model may call no tools."""

    def stop_ids(self, eos_ids: frozenset[int]) -> frozenset[int]:
        """Token ids that end an answer, given those that end a turn."""
        own_ids = frozenset(self.sampling.stop_token_ids or ())
        return own_ids if self.sampling.ignore_eos else own_ids | eos_ids

    @property
    def calls_in_own_syntax(self) -> bool:
        """Whether the model may call tools in its own syntax instead of answering."""
        return self.tool_parser is not None and self.tool_parser.in_own_syntax

    @property
    def is_structured(self) -> bool:
        """Whether answers are constrained or may call tools: they are not as long as plain ones."""
        return self.tool_parser is not None or self.constraint is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRequest:
    """A request after compilation, on token ids."""

    id: str
    prompt: Prompt
    """The conversation, with thinking open at its end if there can be any."""
    signed_prompt_ids: list[int] | None = None
    """The prompt that continuation tokens are bound to, where it is another."""
    no_thinking_prompt_ids: list[int] | None = None
    """Prompt of an answer without thinking, where the chat template makes another one of it."""
    carried_ids: tuple[int, ...] = ()
    """Thinking of an earlier session that is resumed. The budget counts on top of it."""
    limits: TokenLimits
    budgets: tuple[int, ...] = ()
    """Thinking tokens at which to give early answers, ascending."""
    stop_when: StopWhen | None = None
    stop_loop: LoopRule | None = None
    cache_salt: str = ""
    """Prefixes are shared in the engine's cache only with requests of the same salt."""
    adapter: str | None = None
    """LoRA adapter that the model thinks and answers with."""
    max_early_answers: int = 0
    """Early answers that may be sampled at the same time."""
    thinking: SamplingOptions
    """How the thinking is sampled: the client's options over the model's defaults."""
    answer: AnswerOptions
    seed: int | None
    """Makes thinking and answer repeatable."""
    context: RequestContext

    @property
    def arrived_at(self) -> float:
        """`time.monotonic()` of the request's arrival; deadlines count from here."""
        return self.context.arrived_at

    @property
    def prompt_ids(self) -> list[int]:
        return self.prompt.ids

    @property
    def num_context_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.carried_ids)

    @property
    def context_ids(self) -> list[int]:
        """Token ids that the thinking continues."""
        return [*self.prompt_ids, *self.carried_ids]

    def truncate(self, thinking_ids: Sequence[int], cause: Cause, model: Model) -> Truncation:
        """Close the thinking sampled for this request, after what it carries.

        Without any thinking, the answer's prompt is in the form that the model was trained with, if it has
        one.
        """
        all_ids = [*self.carried_ids, *thinking_ids]
        truncation = truncate_thinking(
            all_ids,
            model.reasoning,
            cause=cause,
            forcing=self.answer.forcing,
            num_carried_tokens=len(self.carried_ids),
            stop_ids=frozenset(self.thinking.stop_token_ids or ()),
            tool_start_ids=self.tool_start_ids,
            may_call_tools=self.answer.calls_in_own_syntax,
            tail=model.thinking_tail(all_ids),
        )
        if truncation.thinking_ids:
            return truncation
        form_ids = model.reasoning.form_without_thinking(may_call_tools=self.answer.calls_in_own_syntax)
        prompt_ids = self.no_thinking_prompt_ids or self.prompt.closed(form_ids)
        return truncation if prompt_ids is None else truncation.with_prompt(prompt_ids, self.prompt_ids)

    def thinking_again(
        self, prompt_ids: list[int], *, budget_tokens: int, window_tokens: int, reasoning: ReasoningFormat
    ) -> CompiledRequest:
        """The request for more thinking after a think-start in the answer.

        Args:
            prompt_ids: all tokens until now, with the think-start.
            budget_tokens: what is left of the budget; less where the window has no room for it.
        """
        room = window_tokens - len(prompt_ids) - reasoning.max_inserted_tokens - self.limits.answer_tokens
        budget_tokens, most = (max(0, min(tokens, room)) for tokens in (budget_tokens, room))
        return replace(
            self,
            id=f"{self.id}-again-{len(prompt_ids)}",
            prompt=Prompt(ids=prompt_ids, is_open=True),
            no_thinking_prompt_ids=None,
            carried_ids=(),
            budgets=(),
            stop_when=None,
            limits=replace(self.limits, budget_tokens=budget_tokens, max_budget_tokens=most),
        )

    @property
    def tool_start_ids(self) -> frozenset[int]:
        """Tokens that begin a tool call, which end the thinking."""
        parser = self.answer.tool_parser
        return frozenset() if parser is None else parser.start_ids

    def thinking_stop_ids(self, reasoning: ReasoningFormat) -> frozenset[int]:
        """Tokens that end the thinking: the format's, the start of a tool call, and the client's."""
        own_ids = self.thinking.stop_token_ids or ()
        return reasoning.thinking_stop_ids.union(self.tool_start_ids, own_ids)
