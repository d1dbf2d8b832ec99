"""Matchers for an engine that masks tokens itself. llguidance is imported with the first."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anytime_server.engine.structured.schema import with_options
from anytime_server.engine.structured.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher


class Matchers:
    """Makes matchers of schemas that were checked, in a thread of its own."""

    def __init__(self, folder: Path, num_ids: int) -> None:
        """
        Args:
            folder: checkpoint with a tokenizer.
            num_ids: ids that the model gives logits for.
        """
        self._folder, self._num_ids = folder, num_ids
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="matchers")

    async def matcher(self, json_schema: str, stop_ids: Set[int]) -> Matcher:
        """A matcher that holds one continuation to a schema; the first takes some seconds.

        Args:
            stop_ids: at least one; they follow the JSON.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._matcher, json_schema, stop_ids
        )

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    def _matcher(self, json_schema: str, stop_ids: Set[int]) -> Matcher:
        from llguidance import LLMatcher

        vocabulary = self._vocabulary
        grammar = LLMatcher.grammar_from_json_schema(with_options(json_schema))
        return Matcher(
            LLMatcher(vocabulary.tokenizer, grammar, log_level=0), vocabulary, sorted(stop_ids), self._num_ids
        )

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
        """Ids that may come next, bool (V,): stop ids once the JSON is whole, and only then."""
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._bits)
        allowed = np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little").astype(bool)
        is_whole = allowed[self._eos_id]
        allowed[self._eos_id] = False
        allowed[self._stop_ids] = is_whole
        return allowed[: self._num_ids]

    def accept(self, token_id: int) -> bool:
        """Go on by one token; False where it may not come next."""
        if token_id in self._stop_ids:
            return self._matcher.is_accepting()
        return self._matcher.try_consume_tokens([token_id]) == 1
