"""V2: the mean return of the prompt's rollouts (arXiv 2505.13438; Dr. GRPO's baseline, arXiv 2503.20783)."""

from __future__ import annotations

import torch

from anytime_training.baselines.base import BaselineInputs, sum_of_others


def baseline(inputs: BaselineInputs) -> torch.Tensor:
    """V2_j."""
    return group_mean(inputs.returns_PGB, leave_one_out=inputs.leave_one_out)


def group_mean(returns_PGB: torch.Tensor, *, leave_one_out: bool = False) -> torch.Tensor:
    """V2_j, the mean return of the prompt's rollouts: group_mean_PGB.

    As in the authors' code, the mean includes the rollout itself, unless `leave_one_out`. With G = 1 it is 0.
    """
    num_rollouts = returns_PGB.shape[1]
    if num_rollouts == 1:
        return torch.zeros_like(returns_PGB)
    if leave_one_out:
        return sum_of_others(returns_PGB, dim=1) / (num_rollouts - 1)
    return (returns_PGB.sum(dim=1, keepdim=True) / num_rollouts).expand_as(returns_PGB)
