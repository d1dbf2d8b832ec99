"""The text of thinking from its tokens, without what opens or ends it and without special tokens."""

from __future__ import annotations

from collections.abc import Sequence

from anytime_server.reasoning import num_begun
from anytime_server.text.model import Model


class ThinkingText:
    """Text of thinking as its tokens arrive; a think-end that is no single token is held back.

    The prompt has the think-start. Models often repeat it, so that one at the beginning is left out.
    """

    def __init__(self, model: Model, *, stop_ids: frozenset[int]) -> None:
        """
        Args:
            stop_ids: tokens that end the thinking, which have no text.
        """
        tokenizer, think_end = model.tokenizer, model.reasoning.think_end_text
        self._stops = () if think_end is None else think_end.texts
        marker_ids = {token_id for stop in self._stops for token_id in tokenizer.encode(stop)}
        self._hidden_ids = stop_ids | (tokenizer.special_ids - marker_ids)
        self._think_start = model.manifest.think_start.strip()
        self._tokenizer = tokenizer
        self._detokenizer = tokenizer.detokenizer(keeps_special=think_end is not None)
        self._stop_ids = stop_ids
        self._opening_ids: list[int] | None = [] if self._think_start else None
        """Tokens that may be a repeated think-start; None after the beginning."""
        self._held = ""

    def push(self, token_ids: Sequence[int]) -> str:
        """Text to show for these tokens; may be empty."""
        if self._opening_ids is None:
            return self._without_think_end(self._shown(token_ids))
        return self._without_think_end("".join(map(self._first_text, token_ids)))

    def flush(self) -> str:
        """Text that was held back, unless it is the think-end."""
        held = self._held + self._released()
        self._held = ""
        rest = held + self._detokenizer.flush()
        return "" if any(rest.startswith(stop) for stop in self._stops) else rest

    def _shown(self, token_ids: Sequence[int]) -> str:
        return self._detokenizer.push([i for i in token_ids if i not in self._hidden_ids])

    def _first_text(self, token_id: int) -> str:
        """Text of a token near the beginning."""
        if self._opening_ids is None:
            return self._shown([token_id])
        if token_id in self._stop_ids:
            return self._released()
        self._opening_ids.append(token_id)
        begun = self._tokenizer.decode(self._opening_ids, keeps_special=True).lstrip()
        if begun.startswith(self._think_start):
            rest = begun.removeprefix(self._think_start).lstrip()
            self._opening_ids = None if rest else []
            return rest
        return "" if self._think_start.startswith(begun) else self._released()

    def _released(self) -> str:
        """Text of tokens that turned out to be no think-start."""
        ids, self._opening_ids = self._opening_ids or [], None
        return self._shown(ids)

    def _without_think_end(self, text: str) -> str:
        if not self._stops:
            return text
        text = self._held + text
        end = min((at for stop in self._stops if (at := text.find(stop)) >= 0), default=None)
        if end is None:
            end = len(text) - num_begun(text, self._stops)
        shown, self._held = text[:end], text[end:]
        return shown
