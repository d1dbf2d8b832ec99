"""Families of models, and how a checkpoint's family is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anytime_server.reasoning.format import ReasoningTexts
from anytime_server.reasoning.truncation import Forcing

OUT_OF_TIME = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking "
    "directly now.\n"
)
"""The early-stopping sentence of the Qwen3 technical report (arXiv 2505.09388, section 4.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The facts of a checkpoint that show its family."""

    model_type: str
    """Of its `config.json`; empty if that has none."""
    has_token: Callable[[str], bool]
    """Whether a text is a vocabulary entry."""
    template: str
    """Its chat template."""
    prompt: str = ""
    """The prompt of a plain question."""
    has_switch: bool = False
    """Whether its chat template has a variable that turns thinking on and off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """How thinking is turned on and off in the prompt."""

    on: Mapping[str, Any] = field(default_factory=dict)
    """Template variables for thinking."""
    off: Mapping[str, Any] = field(default_factory=dict)
    """Template variables for no thinking."""
    system_on: str = ""
    """Text that the system message must have for thinking."""
    system_off: str = ""
    """Text that the system message must have for no thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that think in the same way. A checkpoint has all that `tokens` and `template` list."""

    name: str
    models: str
    """Its models, as people know them."""
    texts: ReasoningTexts
    model_types: tuple[str, ...] = ()
    """Any of these in `config.json`; empty for any."""
    tokens: tuple[str, ...] = ()
    """Entries of the vocabulary."""
    template: tuple[str, ...] = ()
    """Texts in the chat template."""
    needs_opening: bool = False
    """Whether a chat template which neither opens thinking nor has a switch for it is of another family."""
    switch: Switch | None = None
    """None to use the switches that the chat template has."""
    effort_variable: str = "reasoning_effort"
    """Template variable for the effort that a request names."""
    efforts: Mapping[str, str] = field(default_factory=dict)
    """The template's word for an effort, where it is another or must be one of these; empty for any word."""
    forcing: Forcing = Forcing.AUTO
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """The model card's sampling, for checkpoints without a `generation_config.json`."""
    tool_parser: str | None = None
    """vLLM's parser of its tool calls; None to go by the chat template."""
    note: str = ""
    """Advice to those who serve it."""

    @property
    def thinks(self) -> bool:
        return bool(self.texts.think_start)

    def fits(self, evidence: Evidence) -> bool:
        """Whether a checkpoint is of this family."""
        return (
            (not self.model_types or evidence.model_type in self.model_types)
            and all(map(evidence.has_token, self.tokens))
            and all(text in evidence.template for text in self.template)
            and (not self.needs_opening or evidence.has_switch or self._is_opened(evidence.prompt))
        )

    def _is_opened(self, prompt: str) -> bool:
        return prompt.rstrip().endswith(self.texts.think_start)


def think_tags(
    start: str = "<think>", end: str = "</think>", *, truncation: str = OUT_OF_TIME, **texts: Any
) -> ReasoningTexts:
    """The texts of a family whose thinking is between two tags."""
    usual = {"think_start": start, "think_end": end, "truncation": truncation, "answer_lead_in": "\n\n"}
    return ReasoningTexts.model_validate(usual | texts)
