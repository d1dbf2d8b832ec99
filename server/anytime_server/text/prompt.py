"""A prompt in token ids, how it ends, and the assistant's turn where a client has begun it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from anytime_server.reasoning import ReasoningTexts


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation, ready for the assistant's turn, or any other text."""

    ids: list[int]
    is_open: bool
    """Whether thinking is open at its end; otherwise what is sampled next is the answer."""
    num_opener_tokens: int = 0
    """Tokens at its end that open the thinking; 0 where it is not open, or they cannot be distinguished."""
    ends_within: Literal["answer", "text"] | None = None
    """Where it ends, if neither thinking nor an answer is to begin: within an answer, or a text of any form.
    Then an empty or blank continuation is as good as any other."""

    def closed(self, no_thinking_ids: tuple[int, ...] | None) -> list[int] | None:
        """The prompt of an answer without thinking; None where the model was trained with no such form.

        Args:
            no_thinking_ids: take the place of the opener.
        """
        if not self.is_open:
            return self.ids
        if no_thinking_ids is None or not self.num_opener_tokens:
            return None
        return [*self.ids[: -self.num_opener_tokens], *no_thinking_ids]


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunTurn:
    """The beginning of the assistant's turn, which the model is to continue."""

    thinking: str = ""
    text: str = ""
    """Of the answer."""
    is_thinking: bool = False
    """Whether it ends within the thinking."""

    @classmethod
    def of(cls, turn: Mapping[str, Any], texts: ReasoningTexts) -> BegunTurn:
        """The beginning that a turn is, whose thinking may be a field or stand in the text in its markers.

        Args:
            turn: of the assistant, as chat templates take it.
            texts: markers of the thinking.
        """
        thinking, text = turn.get("reasoning_content") or "", turn.get("content") or ""
        start = texts.think_start.strip()
        if thinking or not start or not text.lstrip().startswith(start):
            return cls(thinking=thinking, text=text)
        inner = text.lstrip().removeprefix(start)
        ends = [(at, end) for end in map(str.strip, texts.think_ends) if (at := inner.find(end)) >= 0]
        if not ends:
            return cls(thinking=inner, is_thinking=True)
        at, end = min(ends)
        return cls(thinking=inner[:at], text=inner[at + len(end) :])
