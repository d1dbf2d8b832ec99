"""The recipe of a warm start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from anytime_training.demo.task import ChainTask
from anytime_training.demo.traces import TraceMix
from anytime_training.section import RecipeSettings, Section, Share


class ModelConfig(Section):
    """The shape of the Qwen3 model."""

    hidden_size: PositiveInt = 128
    """Width of the residual stream."""
    num_layers: PositiveInt = 6
    """Transformer blocks."""
    num_heads: PositiveInt = 4
    """Query heads."""
    num_key_value_heads: PositiveInt = 4
    """Key and value heads; divides `num_heads`."""
    head_dim: Literal[32, 64, 128] = 32
    """Width of a head: sizes that the serving engine's attention takes."""
    mlp_size: PositiveInt = 384
    """Width of the feed-forward layer."""
    window_tokens: PositiveInt = 1024
    """The most tokens in a sequence."""
    rope_theta: PositiveFloat = 10_000.0
    """Base of the rotary position embedding."""

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.num_heads % self.num_key_value_heads:
            raise ValueError("num_key_value_heads must divide num_heads")
        return self


class TokenizerConfig(Section):
    """The byte-level BPE tokenizer."""

    vocab_size: int = Field(default=512, ge=272)
    """Entries: 256 bytes, the special tokens, and merges for frequent words."""
    corpus_problems: PositiveInt = 20_000
    """Problems, with their traces, whose text the merges are learned from."""


class ReasoningConfig(Section):
    """How thinking is closed, as written to the manifest."""

    truncation: str = "..."
    """Inserted, before the think-end, where thinking was cut short."""
    answer_lead_in: str = "Answer: "
    """Inserted after the think-end."""
    answer_tokens: PositiveInt = 8
    """Room for an answer."""
    budgets: list[PositiveInt] = Field(default=[8, 16, 32, 64, 96])
    """Budgets that evaluation measures at, ascending."""

    @model_validator(mode="after")
    def _budgets_ascend(self) -> ReasoningConfig:
        if not self.budgets or self.budgets != sorted(set(self.budgets)):
            raise ValueError("budgets must ascend strictly, and there must be one")
        return self


class ExamplesConfig(Section):
    """How problems and traces become training examples."""

    cut_share: Share = 0.35
    """Share of the examples whose thinking is cut at a random place."""
    system_share: Share = 0.06
    """Share of the conversations that open with one of `system_prompts`."""
    system_prompts: list[str] = Field(default=["You are a helpful assistant."])
    """System prompts to draw from."""
    answer_weight: PositiveFloat = 4.0
    """Weight in the loss of a token of the answer, against one of the thinking: answers are so short."""
    earlier_turn_share: Share = 0.04
    """Share of the conversations with an earlier problem and its answer before the one asked."""

    @model_validator(mode="after")
    def _has_system_prompts(self) -> ExamplesConfig:
        if self.system_share and not self.system_prompts:
            raise ValueError("system_prompts must not be empty where system_share is above 0")
        return self


class OptimiserConfig(Section):
    """AdamW, with a linear warm-up and a cosine decay of the learning rate."""

    learning_rate: PositiveFloat = 2e-3
    """At its peak."""
    final_share: Share = 0.02
    """What is left of it at the last step."""
    warmup_steps: PositiveInt = 100
    """Steps over which it rises."""
    weight_decay: NonNegativeFloat = 0.05
    """On matrices; vectors are not decayed."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the mean of gradients."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """Decay of the mean of their squares."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients longer than this are shortened to it."""


class WarmstartRecipe(RecipeSettings):
    """Supervised training from random weights on generated problems with thinking traces."""

    kind: Literal["warmstart"] = "warmstart"
    """Which trainer the recipe is for."""
    name: str = Field(min_length=1)
    """What the checkpoint calls itself."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of the weights and of the data."""
    steps: PositiveInt
    """Optimiser steps."""
    batch_examples: PositiveInt = 256
    """Examples per step."""
    pool_batches: PositiveInt = 16
    """Batches that are drawn at once and sorted by length, to waste little on padding."""
    threads: PositiveInt = 2
    """Threads that torch may use."""
    bf16: bool = False
    """Whether matrix products run in bfloat16: quick only on processors that have it built in."""
    save_every_s: NonNegativeFloat = 60.0
    """Seconds between checkpoints."""
    num_examples: PositiveInt = 8
    """Example prompts, of held-out problems, that go into the manifest."""
    model: ModelConfig = ModelConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    reasoning: ReasoningConfig = ReasoningConfig()
    task: ChainTask = ChainTask()
    traces: TraceMix = TraceMix()
    examples: ExamplesConfig = ExamplesConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
