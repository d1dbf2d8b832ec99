"""Markers of thinking in ordinary text, in the text of answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from anytime_server.reasoning import ReasoningTexts
from anytime_server.text.think_markers import ThinkMarkers

TEXTS = ReasoningTexts(
    think_start="<think>\n",
    think_end="\n</think>\n",
    think_end_variants=("</thought>",),
    answer_start="<answer>\n",
    truncation="...",
    answer_lead_in="",
)


def markers(texts: ReasoningTexts = TEXTS, *, are_tokens: bool = False) -> ThinkMarkers:
    token_id = 7 if are_tokens else None
    model: Any = SimpleNamespace(
        manifest=texts, reasoning=SimpleNamespace(think_start_id=token_id, think_end_id=token_id)
    )
    return ThinkMarkers(model)


@pytest.mark.parametrize(
    ("held", "before", "shown", "thinks"),
    [
        ("42", "", "42", False),
        (".</think><answer>42", "", ".42", False),
        (".</thought>\n<answer>\n42", "", ".\n\n42", False),
        ("42\nIt ends with </think> there", "", "42\nIt ends with </think> there", False),
        ("</think> there", "42\nIt ends with ", "</think> there", False),
        ("</think>there", "42\n  ", "there", False),
        ("<think>more</think>", "", "", True),
        ("Hello <think>more", "", "Hello ", True),
        ("one <think> and\n<think>more", "1\n", "one <think> and\n", True),
        ("</think><think>more", "", "", True),
    ],
)
def test_markers_count_in_the_first_line_and_at_the_beginning_of_others(
    held: str, before: str, shown: str, thinks: bool
) -> None:
    found = markers()
    assert found.without(held, before=before) == shown
    assert found.has_begun_to_think == thinks


def test_markers_that_are_tokens_are_found_as_tokens() -> None:
    assert markers(are_tokens=True).texts == ("<answer>",)


def test_sentences_are_no_markers() -> None:
    texts = ReasoningTexts(
        think_start="Here is my thought process:",
        think_end="Here is my response:",
        truncation="",
        answer_lead_in="",
    )
    assert markers(texts).texts == ()
