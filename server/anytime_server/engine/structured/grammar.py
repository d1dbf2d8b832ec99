"""JSON schemas as grammars over the vocabulary of one checkpoint. Where xgrammar is known, but
for vLLM's own use of it.

JSON comes out compact: with white space allowed, a model could spend a whole budget on it. xgrammar is
imported with the first schema.
"""

from __future__ import annotations

import re
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anytime_server.engine.structured.json_schema import parse_schema
from anytime_server.errors import InvalidRequest, NotSupported

if TYPE_CHECKING:
    from xgrammar import CompiledGrammar, GrammarCompiler, GrammarMatcher

NEEDED_BYTES = frozenset(range(0x20, 0x7F))
"""What JSON is written with; each must be a token."""
CACHE_BYTES = 256 << 20
"""For compiled grammars."""
WHERE_IT_FAILED = re.compile(r"^\[[^\]]*\] \S+:\d+: (Check failed: .* is false: )?")


class Grammars:
    """What the tokens of a checkpoint can be held to. May be used from several threads."""

    def __init__(self, folder: Path, num_ids: int) -> None:
        """
        Args:
            folder: checkpoint with a tokenizer.
            num_ids: ids that the model gives logits for.
        """
        self._folder, self._num_ids = folder, num_ids
        self._loading = threading.Lock()

    def check(self, json_schema: str) -> None:
        """Pass if tokens can be held to this schema.

        Raises:
            InvalidRequest: they cannot, to this one.
            NotSupported: nor to any other.
        """
        schema = parse_schema(json_schema, num_ids=self._num_ids)
        with self._loading:
            single_bytes, compiler = self._single_bytes, self._compiler_of_bytes
        if not single_bytes >= NEEDED_BYTES:
            raise NotSupported("the model's vocabulary cannot spell every JSON")
        if not _spelt(schema) <= single_bytes:
            raise InvalidRequest("the model's vocabulary cannot spell what the JSON schema asks for")
        compiler.compile(json_schema)

    def matcher(self, grammar: CompiledGrammar, stop_ids: frozenset[int]) -> Matcher:
        """What holds one continuation to a grammar; quick.

        Args:
            stop_ids: at least one; what follows the JSON.
        """
        from xgrammar import GrammarMatcher

        matcher = GrammarMatcher(grammar, override_stop_tokens=sorted(stop_ids))
        return Matcher(matcher, self._num_ids)

    def kept(self, json_schema: str) -> CompiledGrammar | None:
        """What `compiled()` gave, where it is still there; waits for nothing."""
        compiler: _Compiler | None = self.__dict__.get("_compiler")  # built by no look-up
        return compiler and compiler.kept(json_schema)

    def compiled(self, json_schema: str) -> CompiledGrammar:
        """The grammar of a schema that was checked, kept for matchers to come; may take a second."""
        if (grammar := self.kept(json_schema)) is not None:
            return grammar
        with self._loading:
            compiler = self._compiler
        return compiler.compile(json_schema)

    def unspellable_ids(self, json_schema: str) -> frozenset[int]:
        """Ids that stand in no JSON, but that xgrammar lets into strings over the plain vocabulary."""
        _, added_ids = self._plain_vocabulary
        return self._blank_ids if 'Length"' in json_schema else added_ids

    @cached_property
    def _plain_vocabulary(self) -> tuple[list[bytes], frozenset[int]]:
        """What each id spells; and those that were added to the vocabulary, with which no text is spelt."""
        try:
            from transformers import AutoTokenizer
            from xgrammar import TokenizerInfo
        except ImportError as error:
            raise NotSupported(f"an answer can be held to a JSON schema only with {error.name}") from None
        tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
        info = TokenizerInfo.from_huggingface(tokenizer, vocab_size=self._num_ids, stop_token_ids=[0])
        return info.decoded_vocab, frozenset(i for i in tokenizer.added_tokens_decoder if i < self._num_ids)

    @cached_property
    def _blank_ids(self) -> frozenset[int]:
        """What was added, and control characters: JSON has none, xgrammar's strings of bounded length do."""
        tokens, added_ids = self._plain_vocabulary
        return added_ids | {i for i, token in enumerate(tokens) if any(byte < 0x20 for byte in token)}

    @cached_property
    def _vocabulary(self) -> list[bytes]:
        """What each id spells in a JSON; nothing where it must not stand in one."""
        tokens, _ = self._plain_vocabulary
        return [b"" if i in self._blank_ids else token for i, token in enumerate(tokens)]

    @cached_property
    def _single_bytes(self) -> frozenset[int]:
        return frozenset(token[0] for token in self._vocabulary if len(token) == 1)

    @cached_property
    def _compiler(self) -> _Compiler:
        return _Compiler(self._vocabulary)

    @cached_property
    def _compiler_of_bytes(self) -> _Compiler:
        """Quick, and fails where the other would."""
        return _Compiler([bytes([byte]) for byte in range(256)])


class Matcher:
    """Where one continuation stands in its grammar."""

    def __init__(self, matcher: GrammarMatcher, num_ids: int) -> None:
        self._matcher, self._num_ids = matcher, num_ids
        self._bits = np.zeros((1, num_ids // 32 + 1), np.int32)  # one id more: that of `_compiler()`

    def allowed(self) -> np.ndarray:
        """Which ids may come next, bool (V,): stop ids once the JSON is whole, and only then."""
        self._matcher.fill_next_token_bitmask(self._bits)
        return np.unpackbits(self._bits.view(np.uint8)[0], count=self._num_ids, bitorder="little").astype(
            bool
        )

    def accept(self, token_id: int) -> bool:
        """Go on by one token; False where it may not come next."""
        return self._matcher.accept_token(token_id)


class _Compiler:
    """Compiles one schema at a time; what is kept is had meanwhile."""

    def __init__(self, vocabulary: list[bytes]) -> None:
        from xgrammar import GrammarCompiler, TokenizerInfo, VocabType

        # Each matcher brings its own stop ids, but xgrammar wants some here. As these are then taken for
        # text, it is an id beyond the vocabulary.
        size = len(vocabulary)
        info = TokenizerInfo(vocabulary, VocabType.RAW, vocab_size=size + 1, stop_token_ids=[size])
        self._compiler: GrammarCompiler = GrammarCompiler(info, cache_limit_bytes=CACHE_BYTES)
        self._compiling, self._keeping = threading.Lock(), threading.Lock()
        self._kept: dict[str, CompiledGrammar] = {}
        """The least lately used first."""
        self._kept_bytes = 0

    def kept(self, json_schema: str) -> CompiledGrammar | None:
        with self._keeping:
            if (grammar := self._kept.pop(json_schema, None)) is not None:
                self._kept[json_schema] = grammar
            return grammar

    def compile(self, json_schema: str) -> CompiledGrammar:
        if (grammar := self.kept(json_schema)) is not None:
            return grammar
        with self._compiling:
            if (grammar := self.kept(json_schema)) is None:
                grammar = self._compile(json_schema)
                self._keep(json_schema, grammar)
            return grammar

    def _keep(self, json_schema: str, grammar: CompiledGrammar) -> None:
        with self._keeping:
            self._kept[json_schema] = grammar
            self._kept_bytes += _size(json_schema, grammar)
            while self._kept_bytes > CACHE_BYTES and len(self._kept) > 1:
                oldest = next(iter(self._kept))
                self._kept_bytes -= _size(oldest, self._kept.pop(oldest))

    def _compile(self, json_schema: str) -> CompiledGrammar:
        try:
            return self._compiler.compile_json_schema(
                json_schema, any_whitespace=False, separators=(",", ":")
            )
        except RuntimeError as error:
            reason = WHERE_IT_FAILED.sub("", str(error).splitlines()[0]).strip()
            raise InvalidRequest(
                f"the JSON schema cannot be enforced: {reason or 'it is too intricate'}"
            ) from None


def _size(json_schema: str, grammar: CompiledGrammar) -> int:
    """In bytes, about."""
    return grammar.memory_size_bytes + len(json_schema) + 4096


def _spelt(schema: Any) -> set[int]:
    """Bytes of the texts in a schema, those that JSON escapes left out."""
    if isinstance(schema, str):
        return {byte for byte in schema.encode() if byte >= 0x20}
    if isinstance(schema, dict):
        return set[int]().union(*map(_spelt, schema), *map(_spelt, schema.values()))
    return set[int]().union(*map(_spelt, schema)) if isinstance(schema, list) else set()
