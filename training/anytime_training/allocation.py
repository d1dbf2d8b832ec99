"""Allocation of the answers over the budgets: more where a reward is uncertain and weighs much.

Knows rewards and lengths of answers, no model. Dimensions: P prompts, G rollouts per prompt, B budgets,
A answers per budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from anytime_training.reward import answer_counts, answer_mask
from anytime_training.rollout import Rollout

MEMORY = 0.9
"""Weight of an earlier step's estimates, relative to the step after it."""

MIN_ANSWERS = 2
"""Answers at every budget, at least: a variance and the baseline of an answer need two."""


class AnswerAllocation:
    """Neyman's allocation, from estimates of earlier steps.

        A_j ∝ w_j,  w_j = P_j · sqrt(E[r(1-r)]_j / tokens_j)

    with the number of answers per rollout fixed and `MIN_ANSWERS` at every budget. E[r(1-r)]_j is the
    variance of a reward given the truncated thinking, estimated by the mean of r̂(1-r̂) · n/(n-1) over
    rollouts with n answers; tokens_j the mean length of an answer. Both are means over earlier steps, with
    the weight `MEMORY` for each step of age. Before the first step, and where all w_j are 0, the answers are
    spread equally. A step's own rewards do not change its counts, so r̂_j stays unbiased.

    Counts are whole: each next answer goes to the budget with the highest w_j / sqrt(n (n+1)), which
    minimises Σ w_j² / A_j exactly.

    Source: Neyman 1934; whole numbers: Wright 2012, "The Equivalence of Neyman Optimum Allocation for
    Sampling and Equal Proportions for Apportioning the U.S. House of Representatives".
    """

    def __init__(self, prior_B: torch.Tensor, *, answers_per_budget: int) -> None:
        self._prior_B = prior_B.double()
        self._answers_per_budget = answers_per_budget
        self._sums_3B = torch.zeros(3, len(prior_B), dtype=torch.float64)
        """Weighted sums over steps: of variances, of tokens, and of 1."""

    @property
    def counts_B(self) -> list[int]:
        """Answers at each budget for the next step."""
        variance_B, tokens_B, steps_B = self._sums_3B
        if not steps_B.any():
            return [self._answers_per_budget] * len(self._prior_B)
        weights_B = self._prior_B * (variance_B / tokens_B.clamp(min=1e-9)).sqrt()
        return neyman_counts(weights_B.tolist(), total=self._answers_per_budget * len(self._prior_B))

    def update(self, rollouts_PG: Sequence[Sequence[Rollout]], rewards_PGBA: torch.Tensor) -> None:
        """Learn from a step's rewards, padded as in `Grades`."""
        rollouts = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G]
        counts = answer_counts(rollouts_PG)
        mask_BA, counts_B = answer_mask(counts), torch.tensor(counts, dtype=torch.float64)
        means_PGB = (rewards_PGBA.double() * mask_BA).sum(dim=-1) / counts_B
        variance_B = (means_PGB * (1 - means_PGB)).mean((0, 1)) * counts_B / (counts_B - 1).clamp(min=1)
        tokens_B = torch.tensor(
            [
                [sum(len(answer.token_ids) for answer in answers_A) for answers_A in rollout.answers]
                for rollout in rollouts
            ],
            dtype=torch.float64,
        ).mean(0)
        step_3B = torch.stack([variance_B, tokens_B / counts_B, torch.ones_like(counts_B)])
        self._sums_3B = MEMORY * self._sums_3B + step_3B

    def state(self) -> dict[str, torch.Tensor]:
        """The state that a resumed run continues from."""
        return {"allocation_sums_3B": self._sums_3B}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state()`."""
        self._sums_3B = state.get("allocation_sums_3B", self._sums_3B)


def neyman_counts(weights_B: Sequence[float], *, total: int, least: int = MIN_ANSWERS) -> list[int]:
    """Whole numbers, at least `least` each, of sum `total`, that minimise Σ w_j² / A_j.

    Weights (1, 2, 3), a total of 12 and at least 2 give (2, 4, 6). Without any weight the counts are as equal
    as possible.

    Raises:
        ValueError: the total is less than `least` for each.
    """
    if total < least * len(weights_B):
        raise ValueError(f"{total} answers are not {least} for each of {len(weights_B)} budgets")
    weights = list(weights_B) if any(weights_B) else [1.0] * len(weights_B)
    counts = [least] * len(weights)
    for _ in range(total - sum(counts)):
        gains = [weight / math.sqrt(n * (n + 1)) for weight, n in zip(weights, counts, strict=True)]
        counts[gains.index(max(gains))] += 1
    return counts
