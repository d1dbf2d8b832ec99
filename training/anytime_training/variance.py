"""The variance that each baseline removes from the returns: the purpose of BRPO, measured without training.

This module owns the measure Var[R - V] / Var[R] for each budget. It knows no model; returns and baselines
are from `advantage`.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anytime_training.advantage import baselines
from anytime_training.baselines.base import reached_segments


def normalised_variance(
    rewards_PGBA: torch.Tensor,
    lengths_PGB: torch.Tensor,
    budgets: Sequence[int],
    prior_B: torch.Tensor,
    *,
    decay: float = 0.5,
) -> dict[str, torch.Tensor]:
    """Var[R_j - V_j] / Var[R_j] for each budget and baseline; less is better, and without a baseline it is 1.

    As in the authors' trainer, variances are over the rollouts of all prompts whose thinking has tokens in
    segment j: truncated at b_j it is longer than truncated at b_{j-1}; in the first segment these are all
    rollouts. The variance includes the differences between prompts, which are most of what V2 removes at the
    first budget.

    V2, alone and in the mixture, is the mean of the prompt's other rollouts, unlike in the authors' trainer.
    With itself in the mean a rollout is compared with a part of itself, and V2 leaves (1 - 1/G)² of the
    variance where it predicts nothing: 0.766 for G = 8. Without itself V2 then leaves G/(G - 1), 1.143: the
    mean of the others has noise of its own.

    Example: one prompt, base prior, two rollouts of full length with the rewards (0 | 0 | 1) and (1 | 1 |
    1). All returns are 1, and the result is NaN. With (0 | 0 | 0) and (1 | 1 | 1) returns are 0 and 1. At
    the last budget V1 is 0 and 1 as well, and 0 of the variance is left; V2 is 1 and 0, the other's return,
    so that R - V2 is -1 and 1, of 4 times the variance.

    Args:
        rewards_PGBA: finite, of any type; computed in float64.
        lengths_PGB: thinking tokens of each truncation, min(b_j, length of the thinking).
        budgets: b_1 < … < b_m.
        prior_B: weights of the budgets.
        decay: λ of V1.

    Returns:
        A ratio_B for each of "v1", "v2" and "brpo", float64. NaN where returns do not vary, or no
        thinking reaches the segment.

    Raises:
        ValueError: a wrong shape, type or value; lengths that do not follow from these budgets.
    """
    parts = baselines(rewards_PGBA.double(), prior_B, decay=decay, leave_one_out=True)
    _check_lengths(lengths_PGB, budgets, rewards_PGBA)
    reached_PGB = reached_segments(lengths_PGB)
    variance_B = _variance(parts.returns_PGB, reached_PGB)
    # Equal returns that were summed differently differ in their last bits.
    noise_PGB = 8 * torch.finfo(torch.float64).eps * parts.returns_PGB.abs()
    varies_B = variance_B.sqrt() > noise_PGB.amax(dim=(0, 1))
    variance_B = torch.where(varies_B, variance_B, torch.nan)
    return {
        name: _variance(parts.returns_PGB - values_PGB, reached_PGB) / variance_B
        for name, values_PGB in (
            ("v1", parts.own_past_PGB),
            ("v2", parts.group_mean_PGB),
            ("brpo", parts.mixture_PGB),
        )
    }


def _variance(values_PGB: torch.Tensor, reached_PGB: torch.Tensor) -> torch.Tensor:
    """Variance over the rollouts that reach the segment, without Bessel's correction: variance_B."""
    num_B = reached_PGB.sum(dim=(0, 1))
    mean_B = torch.where(reached_PGB, values_PGB, 0).sum(dim=(0, 1)) / num_B
    return torch.where(reached_PGB, (values_PGB - mean_B) ** 2, 0).sum(dim=(0, 1)) / num_B


def _check_lengths(lengths_PGB: torch.Tensor, budgets: Sequence[int], rewards_PGBA: torch.Tensor) -> None:
    if lengths_PGB.shape != rewards_PGBA.shape[:3] or len(budgets) != lengths_PGB.shape[-1]:
        raise ValueError(
            f"lengths of shape {tuple(lengths_PGB.shape)} at {len(budgets)} budgets are not one for each of "
            f"{tuple(rewards_PGBA.shape[:3])}"
        )
    budgets_B = torch.tensor(budgets, device=lengths_PGB.device)
    if (budgets_B.diff() <= 0).any() or (lengths_PGB != lengths_PGB[..., -1:].minimum(budgets_B)).any():
        raise ValueError(f"lengths are not what the budgets {list(budgets)} make of any thinking")
