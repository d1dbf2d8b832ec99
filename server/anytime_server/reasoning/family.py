"""Families of models, and how a checkpoint's family is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anytime_server.reasoning.channels import ChannelTexts
from anytime_server.reasoning.format import ReasoningTexts

OUT_OF_TIME = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking "
    "directly now.\n"
)
"""The early-stopping sentence of the Qwen3 technical report (arXiv 2505.09388, section 4.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The facts of a checkpoint by which its family is recognised."""

    model_type: str
    """`model_type` of its `config.json`; empty if there is none."""
    has_token: Callable[[str], bool]
    """Whether a text is an entry of its vocabulary."""
    template: str
    """Its chat template for conversations with tools."""
    prompt: str = ""
    """The prompt that its chat template makes of a plain question, with thinking on."""
    has_switch: bool = False
    """Whether its chat template has a variable that turns thinking on and off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """The conditions of being recognised as a family, which must all be met; the defaults always are."""

    model_types: tuple[str, ...] = ()
    """The `model_type` of its `config.json` is one of these; empty for any."""
    tokens: tuple[str, ...] = ()
    """Its vocabulary has all of these entries."""
    template: tuple[str, ...] = ()
    """Its chat template for conversations with tools contains all of these texts."""
    opens_or_switches: bool = False
    """Its chat template opens the thinking, or has a variable that turns thinking on and off."""

    def are_met(self, evidence: Evidence, *, think_start: str) -> bool:
        """Whether a checkpoint meets the conditions.

        Args:
            think_start: the text that opens the family's thinking.
        """
        return (
            (not self.model_types or evidence.model_type in self.model_types)
            and all(map(evidence.has_token, self.tokens))
            and all(text in evidence.template for text in self.template)
            and (
                not self.opens_or_switches
                or evidence.has_switch
                or evidence.prompt.rstrip().endswith(think_start)
            )
        )


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
    """Models that think in the same way: how they are recognised, and how they are served."""

    name: str
    models: str
    """Its models, as people know them."""
    signs: Signs = Signs()
    """How its checkpoints are recognised; all the other fields say how they are served."""
    texts: ReasoningTexts
    """The texts around its thinking and its answers."""
    channels: ChannelTexts | None = None
    """The channels of its answers; None where they are plain text."""
    switch: Switch | None = None
    """None to use the switches that the chat template has."""
    effort_variable: str = "reasoning_effort"
    """The template variable that takes the effort of a request."""
    efforts: Mapping[str, str] = field(default_factory=dict)
    """The template's word for each effort that it knows; empty where it takes every word."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """The model card's sampling, for checkpoints without a `generation_config.json`."""
    tool_parser: str | None = None
    """The parser of its tool calls, by vLLM's name or ours; None to go by the chat template."""
    note: str = ""
    """Advice to those who serve it."""

    def fits(self, evidence: Evidence) -> bool:
        """Whether a checkpoint may be of this family."""
        return self.signs.are_met(evidence, think_start=self.texts.think_start)


def thinking_between(
    start: str,
    end: str,
    *,
    think_end_variants: tuple[str, ...] = (),
    truncation: str = OUT_OF_TIME,
    answer_lead_in: str = "\n\n",
    answer_start: str = "",
    answer_start_with_tools: str = "",
    answer_end: str = "",
    no_thinking: str | None = None,
) -> ReasoningTexts:
    """The texts of a family that thinks between `start` and `end`; `ReasoningTexts` describes the others."""
    return ReasoningTexts(
        think_start=start,
        think_end=end,
        think_end_variants=think_end_variants,
        truncation=truncation,
        answer_lead_in=answer_lead_in,
        answer_start=answer_start,
        answer_start_with_tools=answer_start_with_tools,
        answer_end=answer_end,
        no_thinking=no_thinking,
    )
