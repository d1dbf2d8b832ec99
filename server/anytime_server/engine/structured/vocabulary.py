"""The tokens of a checkpoint, as llguidance spells JSON with them. Knows no schema."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

NEEDED_BYTES = frozenset(bytes([byte]) for byte in range(0x20, 0x7F))
"""JSON is written with these; each must be a token."""


class Vocabulary:
    """The tokenizer of a checkpoint for llguidance. Takes seconds, and some hundred MiB."""

    def __init__(self, folder: Path, num_ids: int) -> None:
        """
        Args:
            folder: checkpoint with a tokenizer.
            num_ids: ids that the model gives logits for.
        """
        from llguidance.hf import from_tokenizer
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.tokenizer = from_tokenizer(tokenizer, max(num_ids, len(tokenizer)))
        """No special token spells text."""
        self.eos_id: int = self.tokenizer.eos_token
        """Follows the JSON."""

    @cached_property
    def tokens(self) -> list[bytes]:
        """The bytes of each; of special tokens, their names."""
        return [self.tokenizer.decode_bytes([i]) for i in range(self.tokenizer.vocab_size)]

    @property
    def can_spell_json(self) -> bool:
        """Whether every character that JSON needs is a token."""
        return set(self.tokens) >= NEEDED_BYTES
