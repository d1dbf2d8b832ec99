"""The recipe of a warm start."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from anytime_training.demo.chain.task import ChainTask
from anytime_training.demo.chain.traces import TraceMix
from anytime_training.demo.countdown.task import CountdownTask
from anytime_training.demo.countdown.traces import SearchMix
from anytime_training.demo.written import TraceSource
from anytime_training.section import Beta, RecipeSettings, Section, Share


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
    """Width of a head: sizes that the serving engine's attention supports."""
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
    whole_numbers: bool = False
    """Let frequent numbers, with the operator before them, be tokens; else each digit is one."""
    corpus_problems: PositiveInt = 20_000
    """Problems, with their traces, that the merges are learned from."""


class ReasoningConfig(Section):
    """The reasoning format, as written to the manifest."""

    truncation: str = "..."
    """Inserted before the think-end where thinking was truncated."""
    answer_lead_in: str = "Answer: "
    """Inserted after the think-end."""
    answer_tokens: PositiveInt = 8
    """The most tokens of an answer."""
    budgets: list[PositiveInt] = Field(default=[8, 16, 32, 64, 96])
    """Budgets of evaluations, ascending."""

    @model_validator(mode="after")
    def _budgets_ascend(self) -> ReasoningConfig:
        if not self.budgets or self.budgets != sorted(set(self.budgets)):
            raise ValueError("budgets must ascend strictly, and there must be one")
        return self


class ExamplesConfig(Section):
    """Training examples from problems and traces."""

    truncations: NonNegativeInt = 1
    """Answers after truncations of each trace, at random tokens, beside the answer after the whole trace."""
    system_share: Share = 0.06
    """Share of the conversations that open with one of `system_prompts`."""
    system_prompts: list[str] = Field(default=["You are a helpful assistant."])
    """System prompts to draw from."""
    answer_weight: PositiveFloat = 4.0
    """Weight in the loss of a token of the answer, or of a conclusion within the thinking; other tokens of
    the thinking have 1. Both are short."""
    earlier_turn_share: Share = 0.04
    """Share of the conversations in which an earlier problem and its answer come first."""

    @model_validator(mode="after")
    def _has_system_prompts(self) -> ExamplesConfig:
        if self.system_share and not self.system_prompts:
            raise ValueError("system_prompts must not be empty where system_share is above 0")
        return self


class OptimiserConfig(Section):
    """AdamW, with a linear warm-up and a cosine decay of the learning rate."""

    learning_rate: PositiveFloat = 2e-3
    """Learning rate at its peak."""
    final_share: Share = 0.02
    """Share of the learning rate at the last step."""
    warmup_steps: PositiveInt = 100
    """Steps over which the learning rate rises."""
    weight_decay: NonNegativeFloat = 0.05
    """Weight decay of matrices; vectors have none."""
    beta1: Beta = 0.9
    """Decay of the mean of gradients."""
    beta2: Beta = 0.98
    """Decay of the mean of squared gradients."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradient clipping: the largest norm."""


class FineTuningOptimiser(OptimiserConfig):
    """AdamW for a model that was trained before."""

    learning_rate: PositiveFloat = 1e-4
    """Learning rate at its peak; with adapters, several times more than for all weights."""
    warmup_steps: PositiveInt = 10
    """Steps over which the learning rate rises."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of matrices; vectors have none."""


class LoraSection(Section):
    """Low-rank adapters of all linear layers. The embeddings of think-start and think-end are trained."""

    rank: PositiveInt = 16
    """Rank of the adapters."""
    alpha: PositiveFloat = 32.0
    """Scale of the adapters, divided by their rank."""


class SupervisedRecipe(RecipeSettings):
    """Keys that all supervised training has."""

    kind: Literal["warmstart"] = "warmstart"
    """Trainer that the recipe is for."""
    name: str = Field(min_length=1)
    """Name of the checkpoint, written to its manifest."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the weights and of the data."""
    steps: PositiveInt
    """Optimiser steps."""
    batch_examples: PositiveInt = 256
    """Examples per step."""
    pool_batches: PositiveInt = 16
    """Batches that are drawn at once and sorted by length, for little padding."""
    threads: PositiveInt = 2
    """Threads that torch may use."""
    bf16: bool = False
    """Run matrix products in bfloat16; fast only on processors with instructions for it."""
    save_every_s: NonNegativeFloat = 60.0
    """Seconds between checkpoints."""
    num_examples: PositiveInt = 8
    """Prompts of held-out problems that are written to the manifest as examples."""
    task: Annotated[ChainTask | CountdownTask, Field(discriminator="kind")] = ChainTask()
    """The problems: `kind` is `chain` or `countdown`."""
    traces: Annotated[TraceMix | SearchMix, Field(discriminator="kind")] = TraceMix()
    """Thinking on the problems; its `kind` is the task's."""
    examples: ExamplesConfig = ExamplesConfig()

    @model_validator(mode="before")
    @classmethod
    def _traces_of_the_task(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        task, traces = filled.get("task"), filled.get("traces", {})
        if isinstance(task, dict):
            filled["task"] = task = {"kind": "chain"} | task
            if isinstance(traces, dict):
                filled["traces"] = {"kind": task["kind"]} | traces
        elif isinstance(traces, dict):
            filled["traces"] = {"kind": "chain"} | traces
        return filled

    @property
    def trace_source(self) -> TraceSource[Any]:
        """The traces, for problems of this recipe's task."""
        return self.traces

    @model_validator(mode="after")
    def _traces_suit_the_task(self) -> SupervisedRecipe:
        if self.traces.kind != self.task.kind:
            raise ValueError(f"traces.kind must be that of the task, {self.task.kind!r}")
        return self


class WarmstartRecipe(SupervisedRecipe):
    """Supervised training from random weights on generated problems with thinking traces."""

    model: ModelConfig = ModelConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    reasoning: ReasoningConfig = ReasoningConfig()
    optimiser: OptimiserConfig = OptimiserConfig()


class FineTuningRecipe(SupervisedRecipe):
    """Supervised training of a model from a folder on generated problems with thinking traces."""

    model: str = Field(min_length=1)
    """Folder of the model, or the name of a bundled model or of one that `anytime models get` got."""
    batch_examples: PositiveInt = 8
    """Examples per step."""
    budgets: list[PositiveInt] = Field(default=[8, 16, 32, 64, 96])
    """Budgets of evaluations, ascending."""
    lora: LoraSection | None = None
    """Train low-rank adapters in place of all weights; they are merged into the checkpoint."""
    optimiser: FineTuningOptimiser = FineTuningOptimiser()

    @model_validator(mode="after")
    def _budgets_ascend(self) -> FineTuningRecipe:
        if not self.budgets or self.budgets != sorted(set(self.budgets)):
            raise ValueError("budgets must ascend strictly, and there must be one")
        return self
