"""Grammars for an engine that masks tokens itself. xgrammar is imported with the first."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anytime_server.engine.structured.process import COMPACT, Vocabulary

if TYPE_CHECKING:
    from xgrammar import CompiledGrammar, GrammarCompiler, GrammarMatcher

CACHE_BYTES = 256 << 20
"""For compiled grammars."""
NUM_THREADS = 4
"""Schemas are checked one at a time: a grammar in the cache finds a thread that compiles nothing."""


class Grammars:
    """Compiles schemas that were checked, in threads of its own."""

    def __init__(self, folder: Path, num_ids: int) -> None:
        """
        Args:
            folder: checkpoint with a tokenizer.
            num_ids: ids that the model gives logits for.
        """
        self._folder, self._num_ids = folder, num_ids
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="grammars")

    async def compile(self, json_schema: str) -> CompiledGrammar:
        """The grammar of a schema, from the cache or after some seconds."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._compile, json_schema)

    async def matcher(self, json_schema: str, stop_ids: Set[int]) -> Matcher:
        """A matcher that holds one continuation to a schema.

        Args:
            stop_ids: at least one; they follow the JSON.
        """
        grammar = await self.compile(json_schema)
        from xgrammar import GrammarMatcher

        return Matcher(GrammarMatcher(grammar, override_stop_tokens=sorted(stop_ids)), self._num_ids)

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _compile(self, json_schema: str) -> CompiledGrammar:
        return self._compiler.compile_json_schema(json_schema, **COMPACT)

    @cached_property
    def _compiler(self) -> GrammarCompiler:
        from xgrammar import GrammarCompiler

        return GrammarCompiler(Vocabulary(self._folder, self._num_ids).info, cache_limit_bytes=CACHE_BYTES)


class Matcher:
    """Where one continuation stands in its grammar."""

    def __init__(self, matcher: GrammarMatcher, num_ids: int) -> None:
        self._matcher, self._num_ids = matcher, num_ids
        self._bits = np.zeros((1, num_ids // 32 + 1), np.int32)  # one id more, of `Vocabulary.info`

    def allowed(self) -> np.ndarray:
        """Ids that may come next, bool (V,): stop ids once the JSON is whole, and only then."""
        self._matcher.fill_next_token_bitmask(self._bits)
        bits = np.unpackbits(self._bits.view(np.uint8)[0], count=self._num_ids, bitorder="little")
        return bits.astype(bool)

    def accept(self, token_id: int) -> bool:
        """Go on by one token; False where it may not come next."""
        return self._matcher.accept_token(token_id)
