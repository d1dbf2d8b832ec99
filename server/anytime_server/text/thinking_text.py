"""The text of thinking from its tokens, without what ends it."""

from __future__ import annotations

from collections.abc import Sequence

from anytime_server.reasoning import num_begun
from anytime_server.text.model import Model


class ThinkingText:
    """Text of thinking as its tokens arrive; a think-end that is no single token is held back."""

    def __init__(self, model: Model, *, stop_ids: frozenset[int]) -> None:
        """
        Args:
            stop_ids: tokens that end the thinking, which have no text.
        """
        think_end = model.reasoning.think_end_text
        self._stops = () if think_end is None else think_end.texts
        self._stop_ids = stop_ids
        self._detokenizer = model.tokenizer.detokenizer(keeps_special=think_end is not None)
        self._held = ""

    def push(self, token_ids: Sequence[int]) -> str:
        """Text to show for these tokens; may be empty."""
        text = self._detokenizer.push([i for i in token_ids if i not in self._stop_ids])
        if not self._stops:
            return text
        text = self._held + text
        end = min((at for stop in self._stops if (at := text.find(stop)) >= 0), default=None)
        if end is None:
            end = len(text) - num_begun(text, self._stops)
        shown, self._held = text[:end], text[end:]
        return shown

    def flush(self) -> str:
        """Text that was held back, unless it is the think-end."""
        held, self._held = self._held, ""
        rest = held + self._detokenizer.flush()
        return "" if any(rest.startswith(stop) for stop in self._stops) else rest
