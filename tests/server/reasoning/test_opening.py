"""The end of a rendered prompt: open, closed, or neither."""

from __future__ import annotations

from typing import Any

import pytest
from anytime_server.reasoning import PromptEnd, ReasoningTexts, opener_at, prompt_end

BLANK: dict[str, Any] = {"truncation": "", "answer_lead_in": ""}
TAGS = ReasoningTexts(
    think_start="<think>", think_end="</think>", no_thinking="<think>\n\n</think>\n\n", **BLANK
)
CHANNELS = ReasoningTexts(
    think_start="<open>think<sep>",
    think_end="<close>think<sep>",
    answer_start="<open>response<sep>",
    **BLANK,
)
LABEL = ReasoningTexts(think_start="<|channel>thought\n", think_end="<channel|>", **BLANK)


@pytest.mark.parametrize(
    ("text", "texts", "end"),
    [
        ("", TAGS, PromptEnd.NEITHER),
        ("assistant\n", TAGS, PromptEnd.NEITHER),
        ("assistant\n<think>", TAGS, PromptEnd.OPEN),
        ("assistant\n<think>\n", TAGS, PromptEnd.OPEN),
        ("assistant\n<think>\n ", TAGS, PromptEnd.OPEN),
        # A think-start that the user wrote, before the template's closing tokens.
        ("<think><end>assistant\n", TAGS, PromptEnd.NEITHER),
        ("assistant\n<think>\n\n</think>\n\n", TAGS, PromptEnd.CLOSED),
        ("assistant</think>", TAGS, PromptEnd.CLOSED),
        ("assistant<open>think<sep>", CHANNELS, PromptEnd.OPEN),
        ("assistant<open>response<sep>", CHANNELS, PromptEnd.CLOSED),
        ("model\n<|channel>thought\n", LABEL, PromptEnd.OPEN),
        ("model\n<|channel>thought\n<channel|>", LABEL, PromptEnd.CLOSED),
        ("model\n<|channel>", LABEL, PromptEnd.NEITHER),
    ],
)
def test_end_of_a_prompt(text: str, texts: ReasoningTexts, end: PromptEnd) -> None:
    assert prompt_end(text, texts) is end


def test_opener_is_the_last_think_start() -> None:
    assert opener_at("<think> assistant\n<think>\n", TAGS) == len("<think> assistant\n")
