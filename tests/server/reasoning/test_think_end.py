"""A think-end of several tokens: found across their borders, and completed where it was begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from anytime_server.reasoning import (
    NOT_BEGUN,
    Cause,
    Forcing,
    ReasoningFormat,
    ReasoningTexts,
    ThinkingTail,
    thinking_tail,
    truncate_thinking,
)
from hypothesis import given
from hypothesis import strategies as st

from .conftest import CharacterTokenizer

END = "\n</think>\n"
TEXTS = ReasoningTexts(
    think_start="<think>\n", think_end=END, truncation="...", answer_start="<answer>\n", answer_lead_in="A: "
)
GRANITE = ReasoningTexts(
    think_start="Here is my thought process:",
    think_end="Here is my response:",
    truncation="",
    answer_lead_in="",
    think_end_variants=("Here's my response:",),
)
ENTRIES = ("</th", "ink>\n<an", "ink>\n\nSo", "ink>\n", "<eos>")
"""Tokens that reach over the borders of the markers."""


def tail_of(text: str, texts: ReasoningTexts = TEXTS) -> ThinkingTail:
    tokenizer = CharacterTokenizer(ENTRIES, eos="<eos>")
    return tail(tokenizer, tokenizer.encode(text), texts)


def tail(tokenizer: CharacterTokenizer, ids: Sequence[int], texts: ReasoningTexts) -> ThinkingTail:
    reasoning = ReasoningFormat.from_texts(texts, tokenizer)
    assert reasoning.think_end_text is not None
    return thinking_tail(ids, reasoning.think_end_text, lambda token_ids, **_: tokenizer.decode(token_ids))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", NOT_BEGUN),
        ("7 - 3", NOT_BEGUN),
        ("7 - 3\n<", NOT_BEGUN),  # as likely something else
        ("7 - 3\n</", ThinkingTail(num_begun=3)),
        ("7 - 3\n</th", ThinkingTail(num_begun=5)),
        ("7 - 3\n</think>\n", ThinkingTail(is_complete=True)),
        ("7 - 3\n</think>\n<an", ThinkingTail(is_complete=True, num_answer_start=3)),
        ("7 - 3\n</think>\n\nSo", ThinkingTail(is_complete=True, answer_text="So")),
        # An answer, after which the model thought again.
        ("7 - 3\n</think>\n4<think>\n", NOT_BEGUN),
        ("7 - 3\n</think>\n4<think>\n6\n</", ThinkingTail(num_begun=3)),
        ("7 - 3\n</think>\n4<think>\n6\n</think>\n", ThinkingTail(is_complete=True)),
    ],
)
def test_tail_of_thinking(text: str, found: ThinkingTail) -> None:
    assert tail_of(text) == found


@pytest.mark.parametrize("end", GRANITE.think_ends)
def test_each_way_to_end_thinking_is_found(end: str) -> None:
    assert tail_of(f"Seven less three. {end}", GRANITE) == ThinkingTail(is_complete=True)


@given(st.text("</think>\n ab", max_size=30))
def test_thinking_is_complete_exactly_with_the_think_end(text: str) -> None:
    tokenizer = CharacterTokenizer(ENTRIES, eos="<eos>")
    ids = tokenizer.encode(text + END)
    ends = [n for n in range(len(ids) + 1) if tail(tokenizer, ids[:n], TEXTS).is_complete]
    assert ends[0] == next(n for n in range(len(ids) + 1) if END in tokenizer.decode(ids[:n]))


@pytest.mark.parametrize(
    ("thinking", "forcing", "prompt", "cause"),
    [
        ("7", Forcing.AUTO, f"7...{END}<answer>\nA: ", Cause.BUDGET),
        # Where the think-end was begun, it is completed.
        ("7\n</th", Forcing.AUTO, f"7{END}<answer>\nA: ", Cause.BUDGET),
        ("7\n</think>", Forcing.CLOSE, f"7{END}<answer>\n", Cause.BUDGET),
        ("7\n</think>\n", Forcing.AUTO, f"7{END}<answer>\n", Cause.NATURAL),
        ("7\n</think>\n", Forcing.FORCE, f"7{END}<answer>\nA: ", Cause.NATURAL),
        # Where the last token began the answer, only its rest is inserted.
        ("7\n</think>\n<an", Forcing.AUTO, f"7{END}<answer>\n", Cause.NATURAL),
        ("", Forcing.AUTO, f"{END}<answer>\nA: ", Cause.BUDGET),
    ],
)
def test_thinking_is_closed(
    tokenizer_of: Callable[..., CharacterTokenizer],
    thinking: str,
    forcing: Forcing,
    prompt: str,
    cause: Cause,
) -> None:
    tokenizer = tokenizer_of(*ENTRIES)
    reasoning, ids = ReasoningFormat.from_texts(TEXTS, tokenizer), tokenizer.encode(thinking)
    truncation = truncate_thinking(
        ids, reasoning, cause=Cause.BUDGET, forcing=forcing, tail=tail(tokenizer, ids, TEXTS)
    )
    assert tokenizer.decode(truncation.answer_prompt([])) == prompt
    assert truncation.cause is cause
    assert truncation.num_thinking_tokens == len(ids)


def test_text_after_the_think_end_begins_the_answer() -> None:
    tokenizer = CharacterTokenizer(ENTRIES, eos="<eos>")
    ids = tokenizer.encode("7\n</think>\n\nSo")
    truncation = truncate_thinking(
        ids,
        ReasoningFormat.from_texts(TEXTS, tokenizer),
        cause=Cause.BUDGET,
        tail=tail(tokenizer, ids, TEXTS),
    )
    assert truncation.answer_text == "So"
