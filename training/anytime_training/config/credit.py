"""Credit assignment, as recipes set it. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from anytime_training.baselines import BASELINES, BaselineName
from anytime_training.section import Section

SummaryPreset = Literal["brpo", "grpo", "none"]
RewardName = Literal["sampled", "likelihood"]
PriorName = Literal["base", "uniform", "linear"]


class CreditConfig(Section):
    """From rewards to advantages (`anytime_training.advantage`)."""

    prior: PriorName | list[NonNegativeFloat] = "uniform"
    """Weight of each budget in the objective: `base` is the largest budget alone, `uniform` all alike,
    `linear` in proportion to their size, or one weight for each."""
    reward: RewardName = "sampled"
    """Rewards of the thinking: those of the `sampled` answers, or the `likelihood` of right answers, for
    tasks that can list them."""
    baseline: BaselineName = "brpo"
    """Baseline of the thinking: see the table of baselines in the guide to training."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    """λ: weight in V1 of each earlier budget, relative to the budget after it."""
    summary: SummaryPreset | Literal["exact"] = "brpo"
    """Answers that are trained: all sampled ones, the last answer of the largest budget, none, or `exact`:
    the right answers, by the exact gradient of their likelihood, for tasks that can list them."""
    summary_weight: PositiveFloat = 1.0
    """Factor on the advantages of answers. The paper's equation 10 has 1 over budgets times
    answers per budget, its authors' code 1."""
    leave_one_out: bool = False
    """Exclude each rollout from the group mean that is its own baseline."""

    @property
    def needs_values(self) -> bool:
        """Whether the value head has to be fitted."""
        return BASELINES[self.baseline].needs_values

    @property
    def needs_likelihoods(self) -> bool:
        """Whether the right answers have to be listed and scored."""
        return self.reward == "likelihood" or self.summary == "exact"
