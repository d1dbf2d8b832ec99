"""A small tokenizer whose ids are known in advance."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

FIRST_ENTRY_ID = 1000
"""Ids of entries start here, above the code points that tests use."""


class CharacterTokenizer:
    """Each entry is one token; all other text is one token per character, with its code point as the id."""

    def __init__(self, entries: Iterable[str], *, eos: str | None) -> None:
        self._ids = {entry: FIRST_ENTRY_ID + i for i, entry in enumerate(entries)}
        self._eos = eos

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        while text:
            entry = next((entry for entry in self._ids if text.startswith(entry)), text[0])
            ids.append(self._ids.get(entry, ord(entry[0])))
            text = text[len(entry) :]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        names = {entry_id: entry for entry, entry_id in self._ids.items()}
        return "".join(names.get(token_id) or chr(token_id) for token_id in ids)

    def token_id(self, token: str) -> int | None:
        return self._ids.get(token)

    @property
    def eos_ids(self) -> frozenset[int]:
        return frozenset() if self._eos is None else frozenset({self._ids[self._eos]})


@pytest.fixture
def tokenizer_of() -> Callable[..., CharacterTokenizer]:
    """Makes a tokenizer from its vocabulary entries; the last of them ends a turn."""

    def make(*entries: str, eos: bool = True) -> CharacterTokenizer:
        return CharacterTokenizer(entries, eos=entries[-1] if eos else None)

    return make
