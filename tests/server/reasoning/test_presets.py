"""Presets: model families are recognised by their vocabularies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from anytime_server.reasoning import PRESETS, FamilyName, ReasoningFormat, Tokenizer, detect_preset


@pytest.mark.parametrize(
    ("family", "entries"),
    [
        ("deepseek-r1", ("<think>", "</think>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>")),
        ("qwen3", ("<think>", "</think>", "<|im_start|>", "<|im_end|>")),
        ("magistral", ("[INST]", "[/INST]", "[THINK]", "[/THINK]", "</s>")),
        # DeepSeek's distillations of Qwen keep the entries of both families.
        ("deepseek-r1", ("<|im_start|>", "<think>", "</think>", "<｜Assistant｜>", "<|im_end|>")),
    ],
)
def test_family_is_recognised_by_its_vocabulary(
    tokenizer_of: Callable[..., Tokenizer], family: str, entries: tuple[str, ...]
) -> None:
    assert detect_preset(tokenizer_of(*entries)) == family


@pytest.mark.parametrize(
    "entries",
    [
        ("<eos>",),
        ("<think>", "</think>", "<eos>"),
        ("<|im_start|>", "<|im_end|>"),
        ("<think>", "<|im_start|>", "<|im_end|>"),
        ("[THINK]", "</s>"),
    ],
)
def test_unknown_vocabulary_belongs_to_no_family(
    tokenizer_of: Callable[..., Tokenizer], entries: tuple[str, ...]
) -> None:
    assert detect_preset(tokenizer_of(*entries)) is None


@pytest.mark.parametrize("family", PRESETS)
def test_every_preset_fits_its_own_vocabulary(
    tokenizer_of: Callable[..., Tokenizer], family: FamilyName
) -> None:
    preset = PRESETS[family]
    tokenizer = tokenizer_of(*preset.markers, "<eos>")
    assert detect_preset(tokenizer) == family
    reasoning = ReasoningFormat.from_texts(preset.texts, tokenizer)
    assert reasoning.think_start_id == tokenizer.token_id(preset.texts.think_start)
    assert reasoning.think_end_id == tokenizer.token_id(preset.texts.think_end)
    assert len(reasoning.truncation_ids) == len(preset.texts.truncation)
