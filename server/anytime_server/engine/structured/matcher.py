"""Matchers for an engine that masks tokens itself. llguidance is imported with the first."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anytime_server.engine.constraint import Constraint
from anytime_server.engine.structured.grammar import grammar_of
from anytime_server.engine.structured.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Matchers:
    """Makes matchers of constraints that were checked, in a thread of its own."""

    def __init__(self, folder: Path, num_ids: int) -> None:
        """
        Args:
            folder: checkpoint with a tokenizer.
            num_ids: ids that the model gives logits for.
        """
        self._folder, self._num_ids = folder, num_ids
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="matchers")

    async def matcher(self, constraint: Constraint, stop_ids: Set[int]) -> Matcher:
        """A matcher that holds one continuation to a constraint; the first takes some seconds.

        Args:
            stop_ids: at least one; they follow the text.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._matcher, constraint, stop_ids
        )

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    def _matcher(self, constraint: Constraint, stop_ids: Set[int]) -> Matcher:
        from llguidance import LLMatcher

        vocabulary = self._vocabulary
        matcher = LLMatcher(vocabulary.tokenizer, grammar_of(constraint), log_level=0)
        return Matcher(matcher, vocabulary, sorted(stop_ids), self._num_ids)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._folder, self._num_ids)


class Matcher:
    """Where one continuation stands in its grammar."""

    def __init__(self, matcher: LLMatcher, vocabulary: Vocabulary, stop_ids: list[int], num_ids: int) -> None:
        self._matcher, self._stop_ids, self._num_ids = matcher, stop_ids, num_ids
        self._eos_id = vocabulary.eos_id
        self._bits = np.zeros((1, -(-vocabulary.tokenizer.vocab_size // 32)), np.int32)

    def allowed(self) -> np.ndarray:
        """Ids that may come next, bool (V,): stop ids where the text may end, and only there."""
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._bits)
        allowed = np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little").astype(bool)
        may_end = allowed[self._eos_id]
        allowed[self._eos_id] = False
        allowed[self._stop_ids] = may_end
        return allowed[: self._num_ids]

    def accept(self, token_id: int) -> bool:
        """Go on by one token; False where it may not come next."""
        if token_id in self._stop_ids:
            return self._matcher.is_accepting()
        return self._matcher.try_consume_tokens([token_id]) == 1
