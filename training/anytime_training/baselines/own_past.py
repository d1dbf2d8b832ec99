"""V1: predicts a rollout's return from its own rewards at earlier budgets (arXiv 2505.13438)."""

from __future__ import annotations

import torch

from anytime_training.baselines.base import BaselineInputs
from anytime_training.returns import mean_rewards, prior_for


def baseline(inputs: BaselineInputs) -> torch.Tensor:
    """V1_j."""
    return own_past(inputs.rewards_PGBA, inputs.prior_B, decay=inputs.decay)


def own_past(rewards_PGBA: torch.Tensor, prior_B: torch.Tensor, *, decay: float = 0.5) -> torch.Tensor:
    """V1_j = (Σ_{k<j} λ^{j-k} r̂_k / Σ_{k<j} λ^{j-k}) · Σ_{k≥j} P_k, and V1_1 = 0: own_past_PGB.

    It equals the return if later rewards equal the recent ones. `decay` is λ, in [0, 1]: 1 gives all earlier
    budgets the same weight, 0 uses the budget before j alone.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], not {decay}")
    means_PGB = mean_rewards(rewards_PGBA)
    prior_B = prior_for(rewards_PGBA, prior_B)
    own_past_PGB = torch.zeros_like(means_PGB)
    for j in range(1, means_PGB.shape[-1]):
        # λ^{j-k-1}: one power less changes no ratio, and serves λ = 0 as well.
        weights_B = decay ** torch.arange(j - 1, -1, -1).to(means_PGB)
        recent_PG = (means_PGB[..., :j] * weights_B).sum(dim=-1) / weights_B.sum()
        own_past_PGB[..., j] = recent_PG * prior_B[j:].sum()
    return own_past_PGB
