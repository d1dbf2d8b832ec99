"""Reasoning texts as token ids, and texts that a tokenizer does not support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.errors import UnusableModel
from anytime_server.reasoning import ReasoningFormat, ReasoningTexts, Tokenizer
from pydantic import ValidationError

TEXTS: dict[str, Any] = {
    "think_start": "<think>",
    "think_end": "</think>",
    "truncation": "..",
    "answer_lead_in": "A:\n",
}


def test_ids_come_from_the_tokenizer(tokenizer_of: Callable[..., Tokenizer]) -> None:
    reasoning = ReasoningFormat.from_texts(
        ReasoningTexts(**TEXTS), tokenizer_of("</think>", "<think>", "<|end|>")
    )
    assert reasoning == ReasoningFormat(
        think_start_ids=(1001,),
        think_end_ids=(1000,),
        truncation_ids=(ord("."), ord(".")),
        answer_lead_in_ids=(ord("A"), ord(":"), ord("\n")),
        eos_ids=frozenset({1002}),
    )
    assert reasoning.thinking_stop_ids == {1000, 1002}
    assert reasoning.max_inserted_tokens == 2 + 1 + 3


def test_texts_to_insert_may_be_empty(tokenizer_of: Callable[..., Tokenizer]) -> None:
    texts = ReasoningTexts.model_validate(TEXTS | {"truncation": "", "answer_lead_in": ""})
    reasoning = ReasoningFormat.from_texts(texts, tokenizer_of("<think>", "</think>", "<|end|>"))
    assert reasoning.truncation_ids == ()
    assert reasoning.answer_lead_in_ids == ()
    assert reasoning.max_inserted_tokens == 1


def test_markers_of_several_tokens_are_inserted_and_found_in_text(
    tokenizer_of: Callable[..., Tokenizer],
) -> None:
    reasoning = ReasoningFormat.from_texts(ReasoningTexts(**TEXTS), tokenizer_of("</thi", "<|end|>"))
    assert reasoning.think_start_ids == tuple(map(ord, "<think>"))
    assert reasoning.think_end_ids == (1000, *map(ord, "nk>"))
    assert (reasoning.think_start_id, reasoning.think_end_id) == (None, None)
    assert reasoning.thinking_stop_ids == {1001}
    assert reasoning.think_end_text is not None
    assert reasoning.think_end_text.rests[5] == tuple(map(ord, "nk>"))


def test_a_think_start_without_a_think_end_is_refused() -> None:
    with pytest.raises(ValidationError, match="must both be given"):
        ReasoningTexts.model_validate(TEXTS | {"think_end": ""})


@pytest.mark.parametrize(
    ("part", "reason"),
    [("</think>", "the think-end"), ("<think>", "the think-start"), ("<|end|>", "an end-of-turn token")],
)
@pytest.mark.parametrize("field", ["truncation", "answer_lead_in", "answer_start", "answer_start_with_tools"])
def test_inserted_text_with_a_marker_or_an_end_of_turn_is_refused(
    tokenizer_of: Callable[..., Tokenizer], field: str, part: str, reason: str
) -> None:
    texts = ReasoningTexts.model_validate(TEXTS | {field: f"so\n{part}\n"})
    with pytest.raises(UnusableModel, match=f"{field} must not contain {reason}") as refused:
        ReasoningFormat.from_texts(texts, tokenizer_of("<think>", "</think>", "<|end|>"))
    assert refused.value.field == field


def test_tokenizer_without_an_end_of_turn_is_refused(tokenizer_of: Callable[..., Tokenizer]) -> None:
    with pytest.raises(UnusableModel, match="eos_token") as refused:
        ReasoningFormat.from_texts(ReasoningTexts(**TEXTS), tokenizer_of("<think>", "</think>", eos=False))
    assert refused.value.field == "eos_token"
