"""Truncation: from a prompt and the thinking until now to the prompt of the answer.

The same function makes the prompts of live answers and of training's rollouts. It works on ids alone:
nothing is decoded and tokenised again, so the answer's prompt is a strict extension of what the engine has
already computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from anytime_server.reasoning.format import ReasoningFormat
from anytime_server.reasoning.think_end import NOT_BEGUN, ThinkingTail


class Cause(StrEnum):
    """Why the thinking stopped."""

    NATURAL = "natural"
    """The model ended it."""
    BUDGET = "budget"
    """The token budget was used up."""
    DEADLINE = "deadline"
    """Thinking longer would have made the answer late."""
    CLIENT = "client"
    """The client requested the answer now."""
    STABLE = "stable"
    """Early answers agreed."""
    CONTEXT = "context"
    """The window is full, but for the room that is kept for the answer."""
    LOAD = "load"
    """The server shortened the thinking under load."""
    LOOP = "loop"
    """A repetition loop."""


class Forcing(StrEnum):
    """How an answer is obtained after the thinking."""

    CLOSE = "close"
    """The thinking is ended, and the model answers in its own way."""
    FORCE = "force"
    """The thinking is ended, and the answer begun with the lead-in, however the thinking ended."""
    AUTO = "auto"
    """`close` where the model ended the thinking itself, `force` where it was truncated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """Thinking that has stopped and is closed."""

    cause: Cause
    num_thinking_tokens: int
    """Tokens sampled as thinking for this request, a sampled think-end included."""
    thinking_ids: tuple[int, ...]
    """The part of it that the answer sees: all of it, less an end-of-turn token."""
    inserted_ids: tuple[int, ...]
    """Tokens inserted after the thinking. Never empty where the think-end was not sampled."""
    answer_text: str = ""
    """Text of the answer that the last thinking token began."""
    no_thinking_prompt_ids: tuple[int, ...] | None = None
    """The answer's whole prompt, where there is no thinking and the model has a form for that."""

    @property
    def is_truncated(self) -> bool:
        """Whether there is thinking that the model did not end itself."""
        return bool(self.thinking_ids) and self.cause is not Cause.NATURAL

    def answer_prompt(self, prompt_ids: Sequence[int]) -> list[int]:
        """Ids to sample the answer from; `prompt_ids` as they were for the thinking."""
        if self.no_thinking_prompt_ids is not None:
            return list(self.no_thinking_prompt_ids)
        return [*prompt_ids, *self.thinking_ids, *self.inserted_ids]

    def with_prompt(self, no_thinking_prompt_ids: Sequence[int], prompt_ids: Sequence[int]) -> Truncation:
        """The same with the prompt of an answer without thinking in place of `prompt_ids`."""
        return replace(
            self,
            no_thinking_prompt_ids=tuple(no_thinking_prompt_ids),
            inserted_ids=tuple(no_thinking_prompt_ids[len(prompt_ids) :]),
        )


def truncate_thinking(
    thinking_ids: Sequence[int],
    reasoning: ReasoningFormat,
    *,
    cause: Cause,
    forcing: Forcing = Forcing.FORCE,
    num_carried_tokens: int = 0,
    stop_ids: frozenset[int] = frozenset(),
    tool_start_ids: frozenset[int] = frozenset(),
    may_call_tools: bool = False,
    tail: ThinkingTail = NOT_BEGUN,
) -> Truncation:
    """Close the thinking so that an answer can be sampled after it.

    | the thinking | is followed by |
    |---|---|
    | ended with the think-end | answer-start, lead-in |
    | ended with the end of the turn or a stop id of the client (dropped) | think-end, answer-start, lead-in |
    | ended with the start of a tool call (dropped) | think-end, and answer-start where no call may follow |
    | was truncated within the think-end | its rest, answer-start, lead-in |
    | was truncated | truncation text, think-end, answer-start, lead-in |
    | never began (budget 0) | think-end, answer-start, lead-in |

    The lead-in is left out as `forcing` says.

    Args:
        thinking_ids: tokens sampled; a stop token can only be the last.
        cause: why it stopped, if the model did not end it itself.
        num_carried_tokens: of `thinking_ids`, those at the front that an earlier request sampled.
        stop_ids: tokens of the client that end the thinking, too.
        tool_start_ids: tokens that begin a tool call, which end the thinking, too.
        may_call_tools: the model may call a tool instead of answering.
        tail: how far the thinking is into a think-end that is no single token.
    """
    kept_ids = tuple(thinking_ids)
    last_id = kept_ids[-1] if kept_ids else None
    answer_start_ids = reasoning.opener_of_answer(may_call_tools=may_call_tools)
    closing_ids = (*reasoning.think_end_ids, *answer_start_ids)
    if last_id is not None and last_id == reasoning.think_end_id:
        cause, inserted_ids = Cause.NATURAL, answer_start_ids
    elif tail.is_complete and reasoning.think_end_text is not None:
        cause = Cause.NATURAL
        inserted_ids = answer_start_ids
        if not may_call_tools:
            inserted_ids = reasoning.think_end_text.answer_start_rests[tail.num_answer_start]
    elif last_id in reasoning.eos_ids | stop_ids:
        cause, inserted_ids, kept_ids = Cause.NATURAL, closing_ids, kept_ids[:-1]
    elif last_id in tool_start_ids:
        cause, kept_ids = Cause.NATURAL, kept_ids[:-1]
        inserted_ids = reasoning.think_end_ids if may_call_tools else closing_ids
        forcing = Forcing.CLOSE
    elif tail.num_begun and reasoning.think_end_text is not None:
        inserted_ids = (*reasoning.think_end_text.rests[tail.num_begun], *answer_start_ids)
    elif kept_ids:
        inserted_ids = reasoning.truncation_ids + closing_ids
    else:
        inserted_ids = closing_ids
    # Carried tokens may have an answer in them, after which the model thought again.
    new_ids = kept_ids[num_carried_tokens:-1]
    assert not reasoning.thinking_stop_ids.intersection(new_ids), "a stop token inside the thinking"
    if forcing is Forcing.FORCE or (forcing is Forcing.AUTO and cause is not Cause.NATURAL):
        inserted_ids += reasoning.answer_lead_in_ids
    return Truncation(
        cause=cause,
        num_thinking_tokens=len(thinking_ids) - num_carried_tokens,
        thinking_ids=kept_ids,
        inserted_ids=inserted_ids,
        answer_text=tail.answer_text,
    )
