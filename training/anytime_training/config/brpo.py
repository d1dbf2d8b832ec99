"""The recipe of reinforcement learning: BRPO, GRPO, and the variants between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from anytime_server.reasoning import FamilyName
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from anytime_training.config.credit import CreditConfig
from anytime_training.config.loss import LossConfig
from anytime_training.config.task import TaskSection
from anytime_training.demo.chain.task import ChainTask
from anytime_training.section import Beta, RecipeSettings, Section, Share

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
"""Settings of each preset. Keys of the recipe override them."""

AttentionBackend = Literal["sdpa", "flex"]

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
"""Keys that a resumed run may change: they change what is learned by rounding at most."""


class RolloutConfig(Section):
    """The rollouts of a step."""

    prompts: PositiveInt = 16
    """Prompts per step, P."""
    group_size: PositiveInt = 8
    """Rollouts per prompt, G."""
    budgets: list[PositiveInt] = Field(min_length=1)
    """Budgets in thinking tokens, ascending; the last is the most that a rollout thinks."""
    last_budget_only: bool = False
    """Sample answers at the last budget alone."""
    answers_per_budget: PositiveInt = 4
    """Answers per budget, A."""
    allocation: Literal["equal", "neyman"] = "equal"
    """Answers over the budgets: as many at each, or, with the same total and at least 2 at each, more at
    budgets whose rewards are uncertain and weigh much (`neyman`)."""
    answer_tokens: PositiveInt | None = None
    """The most sampled tokens of an answer; the checkpoint's own number by default."""

    budget_in_prompt: bool = False
    """Train for budgets that the model knows: each prompt names one of the trained budgets, drawn by
    `credit.prior`, through the variable `thinking_budget` of the chat template. Its thinking ends there, and
    the reward is that at this budget alone."""

    @model_validator(mode="after")
    def _budgets_ascend(self) -> RolloutConfig:
        if self.budgets != sorted(set(self.budgets)):
            raise ValueError("budgets must ascend strictly")
        if self.allocation == "neyman" and self.answers_per_budget < 2:
            raise ValueError("allocation = 'neyman' needs answers_per_budget of at least 2")
        return self

    @property
    def trained_budgets(self) -> list[int]:
        """Budgets at which answers are sampled, B of them."""
        return self.budgets[-1:] if self.last_budget_only else self.budgets


class EngineConfig(Section):
    """The engine that samples the rollouts."""

    kind: Literal["vllm", "transformers"] = "vllm"
    """vLLM, or transformers."""
    window_tokens: Annotated[int, Field(ge=16)] | None = None
    """Context length; the model's own by default, which may be far more than rollouts need."""
    max_num_seqs: PositiveInt = 128
    """Sequences that are sampled at the same time."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the engine's weights. With a coarser type than the trainer's, the sampling policy differs
    slightly from the trained one."""
    kv_cache_mib: PositiveInt | None = None
    """Memory for keys and values: with vllm, on a CPU (512 by default); with transformers, anywhere
    (1024 by default on a CPU, half of the free memory on a GPU)."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of a GPU's memory that vllm may use; the trainer needs the rest."""
    tensor_parallel_size: PositiveInt = 1
    """GPUs that vllm spreads the model over."""
    sync_timeout_s: PositiveFloat = 120.0
    """Time limit for loading new weights into the engine, in seconds."""
    max_mismatch: PositiveFloat = 0.5
    """Mean difference, in nats, between the engine's and the trainer's log-probabilities above which the run
    stops, because the engine samples from another policy than the trained one."""


class LearnerConfig(Section):
    """AdamW, over packed rows of rollouts."""

    learning_rate: PositiveFloat = 1e-6
    """Learning rate after the warm-up."""
    warmup_steps: PositiveInt = 1
    """Steps over which the learning rate rises."""
    final_share: Share = 1.0
    """Share of the learning rate at the run's end; it falls linearly. 1 keeps it constant."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of all weights."""
    beta1: Beta = 0.9
    """Decay of the mean of gradients."""
    beta2: Beta = 0.999
    """Decay of the mean of squared gradients."""
    minibatches: PositiveInt = 1
    """Mini-batches, each an optimiser step, that a step's rollouts are divided into."""
    row_tokens: PositiveInt = 512
    """Tokens in a row of packed trees."""
    micro_batch_tokens: PositiveInt = 8192
    """Tokens, padding included, in one forward pass."""
    attention: AttentionBackend = "sdpa"
    """`flex` compiles the trees' mask into the attention; it needs a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that the learner runs on; `auto` is a GPU where there is one."""
    bf16: bool = False
    """Run matrix products in bfloat16; weights stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    threads: PositiveInt = 1
    """Threads that torch may use on a CPU, for learning and, with the transformers engine, for sampling.
    With more than one, a run may not repeat bit for bit: the mathematics library picks the number it uses."""

    @model_validator(mode="after")
    def _row_tokens_are_whole_blocks(self) -> LearnerConfig:
        if self.attention == "flex" and self.row_tokens % 128:
            raise ValueError("row_tokens must be a multiple of 128 with attention = 'flex'")
        return self


class EvaluationConfig(Section):
    """Accuracy at each budget on held-out problems (the `validation` split)."""

    every_steps: PositiveInt = 20
    """Steps between evaluations. There is also an evaluation before the first step and after the last."""
    problems: PositiveInt = 256
    """Number of problems, the same in every evaluation."""
    budgets: list[PositiveInt] = Field(default=[])
    """Budgets in thinking tokens at which answers are sampled; the rollouts' budgets by default."""


class BrpoRecipe(RecipeSettings):
    """Budget Relative Policy Optimization (arXiv 2505.13438) of a reasoning model."""

    kind: Literal["brpo"] = "brpo"
    """Trainer that the recipe is for."""
    name: str = Field(min_length=1)
    """Name of the checkpoint, written to its manifest."""
    model: str = Field(min_length=1)
    """Checkpoint to start from: a folder, or the name of a bundled checkpoint."""
    reasoning_preset: FamilyName | None = None
    """Model family whose reasoning format is used, for a checkpoint without an `anytime.json`."""
    preset: PresetName = "ar-uniform"
    """Run of the paper whose settings are the defaults of this recipe."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of problems and rollouts."""
    steps: PositiveInt
    """The most steps."""
    max_rollout_tokens: PositiveInt | None = None
    """Sampled tokens after which no further step begins."""
    save_every_steps: PositiveInt = 10
    """Steps between checkpoints."""
    record_prompts: NonNegativeInt = 1
    """Prompts of each step whose rollouts are written to `rollouts.jsonl`."""
    grading_threads: PositiveInt = 4
    """Answers that are graded at the same time."""
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(default=[])
    """Trackers that get the metrics in addition to `metrics.jsonl`."""
    task: TaskSection = ChainTask()
    rollout: RolloutConfig
    credit: CreditConfig = CreditConfig()
    loss: LossConfig = LossConfig()
    engine: EngineConfig = EngineConfig()
    learner: LearnerConfig = LearnerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
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
        if self.credit.summary == "exact" and self.loss.kl_coefficient:
            raise ValueError("credit.summary = 'exact' and a loss.kl_coefficient above 0 exclude each other")
        if self.evaluation.budgets != sorted(set(self.evaluation.budgets)):
            raise ValueError("evaluation.budgets must ascend strictly")
        return self

    @property
    def may_change(self) -> frozenset[str]:
        """Keys that a resumed run may change.

        These are where and how fast it computes and, unless the learning rate depends on it, how long the run
        is. `micro_batch_tokens` is among them for a device that ran out of memory; another value changes the
        last bits of sums.
        """
        lengths = {"steps", "max_rollout_tokens"} if self.learner.final_share == 1 else set[str]()
        return CHANGEABLE | lengths

    @property
    def effective_credit(self) -> CreditConfig:
        """Credit assignment of each rollout.

        Where the prompt names a budget, the thinking ends there, and all later budgets have its truncation:
        the reward at the last budget is the reward at the named one.
        """
        if self.rollout.budget_in_prompt:
            return self.credit.model_copy(update={"prior": "base"})
        return self.credit

    @property
    def evaluated_budgets(self) -> list[int]:
        """Budgets of evaluations."""
        return self.evaluation.budgets or self.rollout.budgets
