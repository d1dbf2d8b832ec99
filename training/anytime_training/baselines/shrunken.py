"""The group mean, shrunk towards the mean of other prompts (empirical Bayes).

Dimensions: P prompts, G rollouts per prompt, B budgets.
"""

from __future__ import annotations

import torch

from anytime_training.baselines.base import BaselineInputs, sum_of_others
from anytime_training.baselines.group_mean import group_mean


def baseline(inputs: BaselineInputs) -> torch.Tensor:
    """(1 - s_j) · R̄_j + s_j · μ_j: `shrunken_mean`."""
    return shrunken_mean(inputs.returns_PGB)


def shrunken_mean(returns_PGB: torch.Tensor) -> torch.Tensor:
    """(1 - s_j) · R̄_j + s_j · μ_j: shrunken_PGB.

        s_j = [σ²_w / (G-1)] / [σ²_w / (G-1) + σ²_b]

    R̄_j is the mean return of the prompt's other G-1 rollouts, whose variance given the prompt is
    σ²_w / (G-1), and μ_j the mean of all rollouts of other prompts. All of s_j is from other prompts: σ²_w is
    the mean over them of the variance within a group, Σ (R - group mean)² / (G-1), and σ²_b the variance of
    their group means with n-1 in its denominator, less σ²_w / G, and at least 0.

    With G = 1, s_j = 1. With fewer than three prompts σ²_b cannot be estimated, and s_j = 0; so it is where
    both variances are 0. With P = G = 1 the baseline is 0.

    Unbiased: R̄_j, μ_j and s_j do not depend on what the rollout itself samples.

    Source: Zeng et al. 2025 (arXiv 2511.03710), a James-Stein baseline for GRPO; here for each budget, and
    with the variances of the other prompts.

    Example: the other prompts have groups of two with the returns (0, 1) and (1, 1): μ = 3/4,
    σ²_w = (1/2 + 0)/2 = 1/4, σ²_b = 1/8 - 1/8 = 0, and s = 1. With (0, 0) and (1, 1), σ²_w = 0 and s = 0.
    """
    values_PGB = returns_PGB.double()
    num_prompts, num_rollouts, _ = values_PGB.shape
    own_PGB = group_mean(values_PGB, leave_one_out=True)
    num_others = num_prompts - 1
    if num_others < (1 if num_rollouts == 1 else 2):
        return own_PGB.to(returns_PGB)
    means_PB = values_PGB.mean(dim=1)
    others_PB = sum_of_others(means_PB, dim=0) / num_others
    if num_rollouts == 1:
        return others_PB.unsqueeze(1).expand_as(values_PGB).to(returns_PGB)
    within_PB = sum_of_others(values_PGB.var(dim=1), dim=0) / num_others
    squares_PB = sum_of_others(means_PB**2, dim=0) - num_others * others_PB**2
    between_PB = (squares_PB / (num_others - 1) - within_PB / num_rollouts).clamp(min=0)
    noise_PB = within_PB / (num_rollouts - 1)
    total_PB = noise_PB + between_PB
    share_P1B = torch.where(total_PB > 0, noise_PB / total_PB, 0).unsqueeze(1)
    return ((1 - share_P1B) * own_PGB + share_P1B * others_PB.unsqueeze(1)).to(returns_PGB)
