"""The events of a session, in order. Dialect encoders turn these into wire formats.

`Started`, any number of `ThinkingDelta`, answers (each `AnswerStarted`, `AnswerDelta`..., `AnswerDone`;
early answers between the thinking, the final answer after it), then exactly one of `Done` and `Failed`.
`PromptScored` comes at most once, before the first `AnswerDelta` of the final answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anytime_server.errors import AnytimeError
from anytime_server.reasoning import Cause
from anytime_server.text.answer_text import AnswerToken
from anytime_server.text.tool_calls import ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    id: str
    """Names the session for its controls."""
    model: str
    budget_tokens: int
    deadline_s: float | None
    prompt_tokens: int
    grace_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingDelta:
    text: str
    total_tokens: int
    """Thinking tokens sampled until now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStarted:
    index: int
    at_tokens: int
    """Thinking tokens that the answer is based on."""
    provisional: bool
    cause: Cause | None
    """Why the thinking stopped; None for an early answer."""
    continuation: str | None = None
    """Continuation token of the thinking; None for an early answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptScored:
    """The prompt's tokens, where their log-probabilities were requested."""

    first: str
    """Text of the first one, which has no log-probability."""
    tokens: tuple[AnswerToken, ...]
    """The others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDelta:
    index: int
    text: str
    """New text of the answer; empty only where there are `tokens` to report."""
    provisional: bool
    sampled_tokens: int = 0
    """Tokens sampled for the answer until now, blank attempts before it included; 0 for an early answer that
    becomes the final one."""
    tokens: tuple[AnswerToken, ...] = ()
    """Tokens behind the text, where log-probabilities were requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDone:
    """A whole answer."""

    index: int
    at_tokens: int
    provisional: bool
    text: str
    """All of its deltas' text: without tool calls."""
    tool_calls: tuple[ToolCall, ...] = ()
    answer_tokens: int
    confidence: float | None
    """Mean probability of its tokens, 0 to 1; None where not requested."""
    finish_reason: Literal["stop", "length"]
    """`length`: truncated at the most tokens that an answer may have, or an answer that does not match its
    schema."""
    stop_sequence: str | None = None
    """The client's stop string that ended the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why the thinking stopped."""

    cause: Cause
    budget_tokens: int
    """The budget that applied."""
    thinking_tokens: int
    """Tokens sampled as thinking, a sampled think-end included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, counted exactly."""

    prompt_tokens: int
    """Prompt, with thinking opened."""
    prompt_cached_tokens: int
    """Prompt tokens found in the prefix cache when the request came."""
    thinking_tokens: int
    inserted_tokens: int
    """Inserted at the truncation."""
    answer_tokens: int
    """Sampled for the answer, an end-of-turn token and blank attempts before it included."""
    provisional_tokens: int
    """Sampled for early answers."""
    cached_tokens: int
    """Tokens of the answer's prompt (prompt, thinking, inserted) found in the prefix cache."""

    @property
    def output_tokens(self) -> int:
        """All sampled tokens."""
        return self.thinking_tokens + self.answer_tokens + self.provisional_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds; all but `cut_to_answer_s` from the request's arrival."""

    time_to_first_token_s: float
    """To the first token sampled, of thinking or answer."""
    cut_to_answer_s: float
    """From the end of the thinking to the first token of the answer."""
    time_to_answer_s: float
    """To the first token of the answer."""
    total_s: float
    """To the last token of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of a session that went well."""

    id: str
    stop: Stop
    answer: str
    usage: Usage
    timing: Timing
    continuation: str | None
    """Continuation token: a later request can resume the thinking with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The end of a session that failed."""

    error: AnytimeError


Event = Started | ThinkingDelta | AnswerStarted | PromptScored | AnswerDelta | AnswerDone | Done | Failed
