"""Truncation: from a prompt and the thinking until now to the prompt of the answer.

The same function makes the prompts of live answers and of training's rollouts. It works on
ids alone: nothing is decoded and tokenised again, so the answer's prompt is a strict
extension of what the engine has already computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from anytime_server.reasoning.format import ReasoningFormat


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
    """How an answer is obtained after a truncation."""

    CLOSE = "close"
    """The thinking is ended, and the model answers in its own way."""
    FORCE = "force"
    """The thinking is ended, and the answer begun with the lead-in that the model was trained with."""


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

    def answer_prompt(self, prompt_ids: Sequence[int]) -> list[int]:
        """Ids to sample the answer from; `prompt_ids` as they were for the thinking."""
        return [*prompt_ids, *self.thinking_ids, *self.inserted_ids]


def open_thinking(
    prompt_ids: Sequence[int], reasoning: ReasoningFormat, *, blank_ids: frozenset[int]
) -> list[int]:
    """The prompt with thinking open at its end.

    Some chat templates end with the think-start (DeepSeek-R1), perhaps followed by white
    space; others leave it to the model (Qwen3), and then it is added here so that every
    token sampled is thinking. Only the end is looked at: a think-start that a user wrote
    stands before the template's own closing tokens.

    Args:
        blank_ids: ids of white space, which may follow a think-start.
    """
    for token_id in reversed(prompt_ids):
        if token_id == reasoning.think_start_id:
            return list(prompt_ids)
        if token_id not in blank_ids:
            break
    return [*prompt_ids, reasoning.think_start_id]


def truncate_thinking(
    thinking_ids: Sequence[int],
    reasoning: ReasoningFormat,
    *,
    cause: Cause,
    forcing: Forcing = Forcing.FORCE,
    num_carried_tokens: int = 0,
    tool_start_ids: frozenset[int] = frozenset(),
) -> Truncation:
    """Close the thinking so that an answer can be sampled after it.

    | the thinking | is followed by |
    |---|---|
    | ended with the think-end | lead-in |
    | ended with the end of the turn (dropped) | think-end, lead-in |
    | ended with the start of a tool call (dropped) | think-end |
    | was truncated | truncation text, think-end, lead-in |
    | never began (budget 0) | think-end, lead-in |

    There is no lead-in where the thinking is only to be closed.

    Args:
        thinking_ids: tokens sampled; a stop token can only be the last.
        cause: why it stopped, if the model did not end it itself.
        num_carried_tokens: of `thinking_ids`, those at the front that an earlier request sampled.
        tool_start_ids: tokens that begin a tool call, which end the thinking, too.
    """
    lead_in_ids = reasoning.answer_lead_in_ids if forcing is Forcing.FORCE else ()
    closing_ids = (reasoning.think_end_id, *lead_in_ids)
    kept_ids = tuple(thinking_ids)
    last_id = kept_ids[-1] if kept_ids else None
    if last_id == reasoning.think_end_id:
        cause, inserted_ids = Cause.NATURAL, lead_in_ids
    elif last_id in reasoning.eos_ids:
        cause, inserted_ids, kept_ids = Cause.NATURAL, closing_ids, kept_ids[:-1]
    elif last_id in tool_start_ids:
        cause, inserted_ids, kept_ids = Cause.NATURAL, (reasoning.think_end_id,), kept_ids[:-1]
    elif kept_ids:
        inserted_ids = reasoning.truncation_ids + closing_ids
    else:
        inserted_ids = closing_ids
    assert not reasoning.thinking_stop_ids.intersection(kept_ids[:-1]), "a stop token inside the thinking"
    return Truncation(
        cause=cause,
        num_thinking_tokens=len(thinking_ids) - num_carried_tokens,
        thinking_ids=kept_ids,
        inserted_ids=inserted_ids,
    )
