"""A small checkpoint whose tokenizer has bytes, special tokens and thinking tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from anytime_server.text.tokenizer import ModelTokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
THINKING = ("<think>", "</think>")
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
USER = [{"role": "user", "content": "7 - 3"}]
RENDERED = "<|im_start|>user\n7 - 3<|im_end|>\n<|im_start|>assistant\n<think>\n"
BYTES = 256
"""Entries of a byte-level vocabulary, one for each byte."""


def write_checkpoint(folder: Path, *, thinking: Sequence[str] = THINKING, template: str = TEMPLATE) -> Path:
    """Write a Qwen3-like checkpoint without weights. Every byte is a token; few pairs are merged."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    euro, emoji = (next(t for t, _ in _pre_tokens(text)) for text in ("€€", "😀"))
    # Kinds of tokens in real vocabularies: the start of a character, the end of a character,
    # whole characters, and the end of a character with the start of the next.
    merges = [(emoji[0], emoji[1]), (emoji[2], emoji[3]), (euro[2], euro[3]), ("a", "b")]
    vocabulary = letters + ["".join(pair) for pair in merges]
    backend = Tokenizer(models.BPE(vocab={entry: i for i, entry in enumerate(vocabulary)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(entry, special=True) for entry in SPECIAL])
    backend.add_tokens([AddedToken(entry, special=False, normalized=False) for entry in thinking])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        chat_template=template or None,
        clean_up_tokenization_spaces=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    eos_ids = [backend.token_to_id(entry) for entry in ("<|im_end|>", "<|endoftext|>")]
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos_ids}))
    return folder


def _pre_tokens(text: str) -> list[tuple[str, tuple[int, int]]]:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> ModelTokenizer:
    return ModelTokenizer.load(checkpoint)


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that the test may change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))
