"""How much of a return's variance each baseline leaves: what BRPO is for, measured without training.

This module owns the measure Var[R - V] / Var[R] for each budget. It knows no model, and nothing of credit
but the parts in `advantage`.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anytime_training.advantage import baselines


def normalised_variance(
    rewards_PGBA: torch.Tensor,
    cuts_PGB: torch.Tensor,
    budgets: Sequence[int],
    prior_B: torch.Tensor,
    *,
    decay: float = 0.5,
) -> dict[str, torch.Tensor]:
    """Var[R_j - V_j] / Var[R_j] for each budget and baseline; less is better, 1 is no baseline at all.

    Variances are taken over all prompts' rollouts whose thinking has tokens in segment j, as the
    authors' trainer does: those cut later at b_j than at b_{j-1}, and all of them for the first. They
    include how prompts differ, which is most of what V2 takes away at the first budget.

    For one prompt, base prior, two rollouts with the rewards (0 | 0 | 1) and (1 | 1 | 1), both of full
    length: all returns are 1, and the result is NaN. With (0 | 0 | 0) and (1 | 1 | 1) returns are 0 and 1,
    and at the last budget V1 is 0 and 1 too: 0 of the variance is left. V2 is 1/2 for both and leaves
    all of it.

    Args:
        rewards_PGBA: finite; reckoned in float64 whatever their type.
        cuts_PGB: thinking tokens before each cut, min(b_j, length).
        budgets: b_1 < … < b_m.
        prior_B: weights of the budgets.
        decay: λ of V1.

    Returns:
        A ratio_B for each of "v1", "v2" and "brpo", float64. NaN where returns do not vary, or no
        thinking comes so far.

    Raises:
        ValueError: a shape, type or value that cannot be; cuts that these budgets do not make.
    """
    parts = baselines(rewards_PGBA.double(), prior_B, decay=decay)
    _check_cuts(cuts_PGB, budgets, rewards_PGBA)
    reached_PGB = torch.ones_like(cuts_PGB, dtype=torch.bool)
    reached_PGB[..., 1:] = cuts_PGB.diff(dim=-1) > 0
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
    """Variance over the rollouts that are reached, not corrected for their number: variance_B."""
    num_B = reached_PGB.sum(dim=(0, 1))
    mean_B = torch.where(reached_PGB, values_PGB, 0).sum(dim=(0, 1)) / num_B
    return torch.where(reached_PGB, (values_PGB - mean_B) ** 2, 0).sum(dim=(0, 1)) / num_B


def _check_cuts(cuts_PGB: torch.Tensor, budgets: Sequence[int], rewards_PGBA: torch.Tensor) -> None:
    if cuts_PGB.shape != rewards_PGBA.shape[:3] or len(budgets) != cuts_PGB.shape[-1]:
        raise ValueError(
            f"cuts of shape {tuple(cuts_PGB.shape)} at {len(budgets)} budgets are not one for each of "
            f"{tuple(rewards_PGBA.shape[:3])}"
        )
    budgets_B = torch.tensor(budgets, device=cuts_PGB.device)
    if (budgets_B.diff() <= 0).any() or (cuts_PGB != cuts_PGB[..., -1:].minimum(budgets_B)).any():
        raise ValueError(f"cuts are not what the budgets {list(budgets)} make of any lengths")
