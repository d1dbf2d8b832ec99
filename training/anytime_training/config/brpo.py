"""The recipe of reinforcement learning: BRPO, the GRPO that it is compared with, and what lies between."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from anytime_training.config.loss import LossConfig
from anytime_training.config.task import TaskSection
from anytime_training.demo.task import ChainTask
from anytime_training.section import RecipeSettings, Section, Share

PresetName = Literal[
    "grpo", "ar-base", "ar-uniform", "ar-linear", "grpo+linear", "grpo+decouple", "grpo+vr", "custom"
]

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # The runs of the paper's tables. `last_budget_only` is its m = 1.
    "grpo": {
        "credit": {"summary": "grpo", "prior": "base", "baseline": "v2_only"},
        "rollout": {"answers_per_budget": 1, "last_budget_only": True},
    },
    "grpo+linear": {
        "credit": {"summary": "grpo", "prior": "linear", "baseline": "v2_only"},
        "rollout": {"answers_per_budget": 1},
    },
    "grpo+decouple": {
        "credit": {"summary": "brpo", "prior": "base", "baseline": "v2_only"},
        "rollout": {"answers_per_budget": 4},
    },
    "grpo+vr": {
        "credit": {"summary": "grpo", "prior": "base", "baseline": "brpo"},
        "rollout": {"answers_per_budget": 1},
    },
    **{
        f"ar-{prior}": {
            "credit": {"summary": "brpo", "prior": prior, "baseline": "brpo"},
            "rollout": {"answers_per_budget": 4},
        }
        for prior in ("base", "uniform", "linear")
    },
    "custom": {},
}
"""What each preset sets, where the recipe does not say otherwise."""


CHANGEABLE = frozenset(
    {
        "save_every_steps",
        "record_prompts",
        "grading_threads",
        "report_to",
        "engine.window_tokens",
        "engine.kv_cache_mib",
        "engine.gpu_memory_utilization",
        "engine.sync_timeout_s",
        "engine.max_mismatch",
        "learner.micro_batch_tokens",
        "learner.gradient_checkpointing",
    }
)
"""Keys that do not decide what is learned, but for rounding."""


class CreditConfig(Section):
    """From rewards to advantages (`anytime_training.advantage`)."""

    prior: Literal["base", "uniform", "linear"] | list[NonNegativeFloat] = "uniform"
    """Which budgets matter how much: `base` the largest alone, `uniform` all alike, `linear` in
    proportion to their size, or one weight for each."""
    baseline: Literal["brpo", "v1_only", "v2_only", "none"] = "brpo"
    """What the return of a thinking is held against: its own past rewards (V1), the mean of its
    group (V2), a mixture that moves from the latter to the former (`brpo`), or nothing."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    """λ: how much less the reward of each earlier budget counts in V1."""
    summary: Literal["brpo", "grpo", "none"] = "brpo"
    """Which answers train: all, the last one of the largest budget, or none."""
    summary_weight: PositiveFloat = 1.0
    """Multiplies the advantages of answers. The paper's equation 10 has 1 over budgets times
    answers per budget, its authors' code 1."""
    leave_one_out: bool = False
    """Whether a rollout is left out of the group mean that it is held against."""


class RolloutConfig(Section):
    """What is sampled in a step."""

    prompts: PositiveInt = 16
    """Problems, P."""
    group_size: PositiveInt = 8
    """Thinkings for each problem, G."""
    budgets: list[PositiveInt] = Field(min_length=1)
    """Thinking tokens after which answers are sampled, ascending; thinking ends at the last."""
    last_budget_only: bool = False
    """Whether answers are sampled after the last of them alone."""
    answers_per_budget: PositiveInt = 4
    """Answers after each cut, A."""
    answer_tokens: PositiveInt | None = None
    """The most sampled tokens of an answer; the checkpoint's own number by default."""

    @model_validator(mode="after")
    def _budgets_ascend(self) -> RolloutConfig:
        if self.budgets != sorted(set(self.budgets)):
            raise ValueError("budgets must ascend strictly")
        return self

    @property
    def trained_budgets(self) -> list[int]:
        """Budgets after which answers are sampled, B."""
        return self.budgets[-1:] if self.last_budget_only else self.budgets


class EngineConfig(Section):
    """What samples the rollouts."""

    kind: Literal["vllm", "transformers"] = "vllm"
    """Which engine."""
    window_tokens: Annotated[int, Field(ge=16)] | None = None
    """Its context length; the model's own by default, which may be far more than rollouts need."""
    max_num_seqs: PositiveInt = 128
    """Sequences that it samples at the same time."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of its weights. With one that is coarser than the trainer's, what it samples from is not
    quite what is trained."""
    kv_cache_mib: PositiveInt | None = None
    """Memory for its keys and values: with vllm, on a CPU (512 by default); with transformers, anywhere
    (1024 by default on a CPU, half of what is free on a GPU)."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of a GPU's memory that vllm may use; the trainer needs the rest."""
    tensor_parallel_size: PositiveInt = 1
    """GPUs that vllm spreads the model over."""
    sync_timeout_s: PositiveFloat = 120.0
    """Seconds that it may take to take new weights."""
    max_mismatch: PositiveFloat = 0.5
    """Mean difference, in nats, between its log-probabilities and the trainer's above which the run
    stops: it does not sample from what is trained."""


class LearnerConfig(Section):
    """AdamW, over packed rows of rollouts."""

    learning_rate: PositiveFloat = 1e-6
    """After the warm-up."""
    warmup_steps: PositiveInt = 1
    """Steps over which it rises."""
    final_share: Share = 1.0
    """What is left of it at the run's end, to which it falls in a straight line; 1 keeps it constant."""
    weight_decay: NonNegativeFloat = 0.0
    """On all weights."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the mean of gradients."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the mean of their squares."""
    minibatches: PositiveInt = 1
    """Optimiser steps that a step's rollouts are divided among."""
    row_tokens: PositiveInt = 512
    """Tokens in a row of packed trees."""
    micro_batch_tokens: PositiveInt = 8192
    """Tokens, padding included, in one forward pass."""
    attention: Literal["sdpa", "flex"] = "sdpa"
    """`flex` compiles the trees' mask into the attention; it needs a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it trains; by default a GPU where there is one."""
    bf16: bool = False
    """Whether matrix products run in bfloat16; weights stay in float32."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass instead of kept."""
    threads: PositiveInt = 1
    """Threads that torch may use on a CPU, for learning and, with the transformers engine, for sampling.
    With more than one, a run may not repeat bit for bit: the mathematics library picks how many it uses."""

    @model_validator(mode="after")
    def _rows_suit_the_attention(self) -> LearnerConfig:
        if self.attention == "flex" and self.row_tokens % 128:
            raise ValueError("row_tokens must be a multiple of 128 with attention = 'flex'")
        return self


class EvaluationConfig(Section):
    """Accuracy over budget on problems that are kept from training (the `validation` split)."""

    every_steps: PositiveInt = 20
    """Steps between evaluations; there is one before the first step, and one after the last."""
    problems: PositiveInt = 256
    """How many, always the same."""
    budgets: list[PositiveInt] = Field(default=[])
    """Thinking tokens at which answers are sampled; those of the rollouts by default."""


class BrpoRecipe(RecipeSettings):
    """Budget Relative Policy Optimization (arXiv 2505.13438) from a checkpoint that thinks."""

    kind: Literal["brpo"] = "brpo"
    """Which trainer the recipe is for."""
    name: str = Field(min_length=1)
    """What the checkpoint calls itself."""
    model: str = Field(min_length=1)
    """Checkpoint to start from: a folder, or the name of a bundled one."""
    reasoning_preset: Literal["deepseek-r1", "qwen3", "magistral"] | None = None
    """Family that says how the model thinks, for a checkpoint without an `anytime.json`."""
    preset: PresetName = "ar-uniform"
    """Run of the paper whose settings stand in for those that the recipe leaves out."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of problems and rollouts."""
    steps: PositiveInt
    """The most steps."""
    max_rollout_tokens: PositiveInt | None = None
    """Sampled tokens after which no further step begins."""
    save_every_steps: PositiveInt = 10
    """Steps between checkpoints."""
    record_prompts: NonNegativeInt = 1
    """Problems of each step whose rollouts go into `rollouts.jsonl`."""
    grading_threads: PositiveInt = 4
    """Answers that are graded at the same time."""
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(default=[])
    """Where metrics go besides `metrics.jsonl`."""
    task: TaskSection = ChainTask()
    rollout: RolloutConfig
    credit: CreditConfig = CreditConfig()
    loss: LossConfig = LossConfig()
    engine: EngineConfig = EngineConfig()
    learner: LearnerConfig = LearnerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        for table, settings in PRESETS.get(values.get("preset", "ar-uniform"), {}).items():
            given = values.get(table, {})
            filled[table] = settings | given if isinstance(given, dict) else given
        return filled

    @model_validator(mode="after")
    def _holds_together(self) -> BrpoRecipe:
        prior, num_budgets = self.credit.prior, len(self.rollout.trained_budgets)
        if isinstance(prior, list) and (len(prior) != num_budgets or not sum(prior)):
            raise ValueError(f"credit.prior must have {num_budgets} weights, one for each budget, not all 0")
        if self.evaluation.budgets != sorted(set(self.evaluation.budgets)):
            raise ValueError("evaluation.budgets must ascend strictly")
        return self

    @property
    def may_change(self) -> frozenset[str]:
        """Keys that may be others when a run is resumed.

        Where and how fast it computes; how long it goes on, unless the learning rate depends on
        that. `micro_batch_tokens` is among them for a device that ran out of memory; with
        another one, the last bits of sums differ.
        """
        lengths = {"steps", "max_rollout_tokens"} if self.learner.final_share == 1 else set[str]()
        return CHANGEABLE | lengths

    @property
    def evaluated_budgets(self) -> list[int]:
        """Budgets that evaluations measure at."""
        return self.evaluation.budgets or self.rollout.budgets
