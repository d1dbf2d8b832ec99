"""Presets: model families are recognised by their vocabularies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from anytime_server.reasoning import (
    PRESETS,
    Cause,
    FamilyName,
    ReasoningFormat,
    Tokenizer,
    detect_preset,
    open_thinking,
    truncate_thinking,
)

from .conftest import CharacterTokenizer


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
def test_a_familys_texts_surround_truncated_thinking(
    tokenizer_of: Callable[..., CharacterTokenizer], family: FamilyName
) -> None:
    texts = PRESETS[family].texts
    tokenizer = tokenizer_of(*PRESETS[family].markers, "<eos>")
    reasoning = ReasoningFormat.from_texts(texts, tokenizer)
    prompt_ids = open_thinking(tokenizer.encode("7-3"), reasoning, blank_ids=frozenset())
    truncation = truncate_thinking(tokenizer.encode("7 less 3"), reasoning, cause=Cause.BUDGET)
    assert tokenizer.decode(truncation.answer_prompt(prompt_ids)) == (
        f"7-3{texts.think_start}7 less 3{texts.truncation}{texts.think_end}{texts.answer_lead_in}"
    )
    assert reasoning.thinking_stop_ids == {tokenizer.token_id(texts.think_end), tokenizer.token_id("<eos>")}
