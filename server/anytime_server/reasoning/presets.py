"""Reasoning texts of known model families, for checkpoints without an `anytime.json`.

A family is recognised by tokens that its vocabulary has, so that a renamed or fine-tuned
checkpoint is recognised too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anytime_server.reasoning.format import ReasoningTexts, Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    texts: ReasoningTexts
    markers: tuple[str, ...]
    """Vocabulary entries which, all present, identify the family."""


FamilyName = Literal["deepseek-r1", "qwen3", "magistral"]

PRESETS: dict[FamilyName, Preset] = {
    # Truncation and lead-in as the AnytimeReasoner authors trained with (arXiv 2505.13438).
    "deepseek-r1": Preset(
        texts=ReasoningTexts(
            think_start="<think>",
            think_end="</think>",
            truncation="...\n\n...\n\n",
            answer_lead_in="\n\n**Final Answer**\n",
        ),
        markers=("<think>", "</think>", "<｜Assistant｜>"),
    ),
    # The early-stopping sentence of the Qwen3 technical report (arXiv 2505.09388, section 4.3).
    "qwen3": Preset(
        texts=ReasoningTexts(
            think_start="<think>",
            think_end="</think>",
            truncation="\n\nConsidering the limited time by the user, I have to give the solution "
            "based on the thinking directly now.\n",
            answer_lead_in="\n\n",
        ),
        markers=("<think>", "</think>", "<|im_start|>"),
    ),
    "magistral": Preset(
        texts=ReasoningTexts(
            think_start="[THINK]", think_end="[/THINK]", truncation="...\n\n", answer_lead_in="\n\n"
        ),
        markers=("[THINK]", "[/THINK]"),
    ),
}


def detect_preset(tokenizer: Tokenizer) -> FamilyName | None:
    """Name of the family whose markers the vocabulary has, or None."""
    for name, preset in PRESETS.items():
        if all(tokenizer.token_id(marker) is not None for marker in preset.markers):
            return name
    return None
