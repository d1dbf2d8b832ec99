"""Returns of the thinking: the weighted rewards at a segment's own budget and at later budgets.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import torch

from anytime_training.prior import normalised


def returns(rewards_PGBA: torch.Tensor, prior_B: torch.Tensor) -> torch.Tensor:
    """R_j = Σ_{k≥j} P_k r̂_k, with r̂_k the mean of the rewards at budget k: returns_PGB.

    Raises:
        ValueError: a wrong shape, type or value.
    """
    weighted_PGB = mean_rewards(rewards_PGBA) * prior_for(rewards_PGBA, prior_B)
    return torch.stack([weighted_PGB[..., j:].sum(dim=-1) for j in range(weighted_PGB.shape[-1])], dim=-1)


def mean_rewards(rewards_PGBA: torch.Tensor) -> torch.Tensor:
    """r̂_j, the mean of the rewards at each budget: means_PGB.

    Raises:
        ValueError: a wrong shape, type or value.
    """
    check_rewards(rewards_PGBA)
    return rewards_PGBA.mean(dim=-1)


def remaining_prior(rewards_PGBA: torch.Tensor, prior_B: torch.Tensor) -> torch.Tensor:
    """Σ_{k≥j} P_k, the return of a rollout whose rewards are all 1: remaining_B, of the rewards' type."""
    return prior_for(rewards_PGBA, prior_B).flip(0).cumsum(0).flip(0)


def prior_for(rewards_PGBA: torch.Tensor, prior_B: torch.Tensor) -> torch.Tensor:
    """The prior, normalised, in the rewards' type.

    Raises:
        ValueError: the prior does not fit.
    """
    return normalised(prior_B.to(torch.float64), num_budgets=rewards_PGBA.shape[2]).to(rewards_PGBA)


def check_rewards(rewards_PGBA: torch.Tensor) -> None:
    """Refuse what cannot be rewards.

    Raises:
        ValueError: a wrong shape, type or value.
    """
    if rewards_PGBA.ndim != 4 or not rewards_PGBA.numel():
        raise ValueError(
            f"rewards must be [prompts, rollouts, budgets, answers], not of shape {tuple(rewards_PGBA.shape)}"
        )
    if rewards_PGBA.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rewards must be float32 or float64, not {rewards_PGBA.dtype}")
    if not rewards_PGBA.isfinite().all():
        raise ValueError("a reward is not a finite number")
