"""Inputs of the baselines of the thinking, and what several baselines compute from them.

Dimensions: P prompts, G rollouts per prompt, B budgets (m of them), A answers per budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineInputs:
    """One step's rewards, and the settings of credit assignment."""

    rewards_PGBA: torch.Tensor
    """Rewards, finite; r̂_j is their mean over the answers."""
    prior_B: torch.Tensor
    """Weights of the budgets, not necessarily normalised."""
    returns_PGB: torch.Tensor
    """R_j, the weighted sum of the rewards from budget j on."""
    reached_PGB: torch.Tensor
    """Whether the thinking has a token in segment j."""
    decay: float
    """λ of V1."""
    leave_one_out: bool
    """V2 is the mean of the other rollouts."""
    values_PGB: torch.Tensor | None = None
    """The value head's prediction of R_j from the thinking up to b_{j-1}; None before its first fit."""


def reached_segments(lengths_PGB: torch.Tensor) -> torch.Tensor:
    """Whether thinking has tokens in each segment: reached_PGB.

    Truncated at b_j it is longer than truncated at b_{j-1}; every thinking reaches the first segment.

    Args:
        lengths_PGB: thinking tokens of each truncation, min(b_j, length of the thinking).
    """
    reached_PGB = torch.ones_like(lengths_PGB, dtype=torch.bool)
    reached_PGB[..., 1:] = lengths_PGB.diff(dim=-1) > 0
    return reached_PGB


def mixture(own_past_PGB: torch.Tensor, group_mean_PGB: torch.Tensor) -> torch.Tensor:
    """(j-1)/m · V1_j + (m-j+1)/m · V2_j: the rollout's own past has more weight at later budgets."""
    share_B = own_share(group_mean_PGB)
    return share_B * own_past_PGB + (1 - share_B) * group_mean_PGB


def own_share(values_PGB: torch.Tensor) -> torch.Tensor:
    """(j-1)/m for each of the m budgets: share_B, of the values' type."""
    num_budgets = values_PGB.shape[-1]
    return torch.arange(num_budgets).to(values_PGB) / num_budgets


def sum_of_others(values: torch.Tensor, dim: int) -> torch.Tensor:
    """For each index of a dimension, the sum over all other indices."""
    return values.sum(dim=dim, keepdim=True) - values
