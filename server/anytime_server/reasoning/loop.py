"""Repetition loops in thinking: the same tokens over and over, which a model rarely leaves by itself.

Exact on token ids, and independent of how they are split into deltas. A loop whose turns differ, be it in one
number, is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MAX_PERIOD = 256
"""Tokens of the longest phrase whose repetition is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRule:
    """When repetition counts as a loop: the last tokens are one phrase again and again."""

    repeats: int = 4
    """Times in a row that the phrase must occur, at least 2. A draft that is copied twice is no loop."""
    min_tokens: int = 128
    """Tokens that these must have together. Lines of a table, or decimals of a fraction, mostly have less."""


class LoopDetector:
    """Reads the thinking of one request. A token takes a few microseconds."""

    def __init__(self, rule: LoopRule) -> None:
        import numpy as np  # here, so that the command line need not wait for it

        periods = np.arange(1, MAX_PERIOD + 1)
        self._needed: np.ndarray = np.maximum(rule.repeats * periods, rule.min_tokens) - periods
        """For each period, tokens in a row that equal the one a period before."""
        self._equal = np.zeros(MAX_PERIOD, np.int64)
        """For each period, how many of the last tokens are such."""
        self._latest = np.full(8 * MAX_PERIOD, -1, np.int64)
        """Tokens from `_first` on, the latest first; -1 before the first token."""
        self._first = len(self._latest) - MAX_PERIOD

    def push(self, token_ids: Iterable[int]) -> int | None:
        """Read on.

        Returns:
            The number of these tokens after which a loop is complete; the rest is not read. None where there
            is no loop.
        """
        for num, token_id in enumerate(token_ids, 1):
            self._equal += 1
            self._equal[self._latest[self._first : self._first + MAX_PERIOD] != token_id] = 0
            self._remember(token_id)
            if (self._equal >= self._needed).any():
                return num
        return None

    def push_all(self, token_ids: Iterable[int]) -> None:
        """Read all of an earlier thinking, whether there is a loop in it or not."""
        for token_id in token_ids:
            self.push((token_id,))

    def _remember(self, token_id: int) -> None:
        if self._first == 0:
            self._first = len(self._latest) - MAX_PERIOD
            self._latest[self._first + 1 :] = self._latest[: MAX_PERIOD - 1]
        else:
            self._first -= 1
        self._latest[self._first] = token_id
