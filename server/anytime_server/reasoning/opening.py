"""The end of a rendered prompt: whether the chat template has opened the thinking, closed it, or neither."""

from __future__ import annotations

from enum import Enum

from anytime_server.reasoning.format import ReasoningTexts


class PromptEnd(Enum):
    """The end of a rendered conversation."""

    OPEN = "open"
    """The think-start: what is sampled next is thinking."""
    CLOSED = "closed"
    """A closed block, a think-end or an answer-start: what is sampled next is the answer."""
    NEITHER = "neither"
    """The assistant's turn, in which the model opens the thinking."""


def prompt_end(text: str, texts: ReasoningTexts) -> PromptEnd:
    """How the text of a prompt ends; white space after it does not matter.

    Only the end is looked at: a think-start that a user wrote stands before the template's own closing
    tokens.
    """
    end = text.rstrip()

    def ends_with(marker: str | None) -> bool:
        return bool(marker) and end.endswith((marker or "").rstrip())

    if ends_with(texts.think_start):
        return PromptEnd.OPEN
    if any(map(ends_with, (*texts.think_ends, texts.answer_start, texts.no_thinking))):
        return PromptEnd.CLOSED
    return PromptEnd.NEITHER


def is_within_thinking(text: str, texts: ReasoningTexts) -> bool:
    """Whether the last think-start in a text has no think-end after it."""
    start = texts.think_start.strip()
    return bool(start) and text.rfind(start) > max(text.rfind(end.strip()) for end in texts.think_ends)


def opener_at(text: str, texts: ReasoningTexts) -> int:
    """Characters before the think-start that a prompt ends with."""
    return text.rindex(texts.think_start.rstrip())
