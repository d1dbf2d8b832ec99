"""A mixture whose coefficients are fitted to the returns of other prompts (our own; a control variate).

Dimensions: P prompts, G rollouts per prompt, B budgets (m of them), F features.
"""

from __future__ import annotations

import torch

from anytime_training.baselines import own_past
from anytime_training.baselines.base import BaselineInputs, own_share, sum_of_others
from anytime_training.baselines.group_mean import group_mean
from anytime_training.returns import remaining_prior

PENALTY_ROLLOUTS = 8.0
"""λ: the penalty weighs as much as this number of rollouts with the largest feature possible."""

MIN_ROLLOUTS = 8
"""The fewest rollouts of other prompts that coefficients are fitted to, two for each coefficient."""


def baseline(inputs: BaselineInputs) -> torch.Tensor:
    """b_j = c_j · W_j + a_j · V1_j + d_j · R̄_j + e_j · V̄1_j, with W_j = Σ_{k≥j} P_k.

    R̄_j and V̄1_j are the means of R_j and V1_j over the prompt's other rollouts (0 with G = 1). With
    φ = (W, V1, R̄, V̄1), and θ⁰ = (0, (j-1)/m, (m-j+1)/m, 0), which is BRPO's mixture with `leave_one_out`,
    the coefficients (c, a, d, e) of budget j and prompt p are

        θ = argmin Σ (R_j - φ·θ)² + λ W_j² |θ - θ⁰|²
          = θ⁰ + (Σ φφᵀ + λ W_j² I)⁻¹ Σ φ (R_j - φ·θ⁰),

    where sums are over the rollouts of all *other* prompts whose thinking reaches segment j. If there are
    fewer than `MIN_ROLLOUTS` of them, θ = θ⁰; so it is with a single prompt.

    Unbiased: no coefficient or feature depends on what the rollout itself samples from segment j on. A
    prompt's own rollouts would, in the sums, bias the gradient by a term of order 1/P.

    Source: our own. Fitted control variates: Owen, "Monte Carlo theory, methods and examples", section 8.9;
    cross-fitting: Chernozhukov et al. 2018, arXiv 1608.00060.

    Example, of one prompt's coefficients where λ is 0: if R_j = V1_j for all rollouts of other prompts, and
    the other features are independent of V1_j, then θ = (0, 1, 0, 0) and b_j = V1_j.
    """
    rewards_PGBA = inputs.rewards_PGBA.double()
    returns_PGB = inputs.returns_PGB.double()
    remaining_B = remaining_prior(rewards_PGBA, inputs.prior_B)
    own_past_PGB = own_past.own_past(rewards_PGBA, inputs.prior_B, decay=inputs.decay)
    features_PGBF = torch.stack(
        [
            remaining_B.expand_as(returns_PGB),
            own_past_PGB,
            group_mean(returns_PGB, leave_one_out=True),
            group_mean(own_past_PGB, leave_one_out=True),
        ],
        dim=-1,
    )
    share_B = own_share(returns_PGB)
    start_BF = torch.stack([0 * share_B, share_B, 1 - share_B, 0 * share_B], dim=-1)
    residuals_PGB = returns_PGB - (features_PGBF * start_BF).sum(dim=-1)

    reached_PGB1 = inputs.reached_PGB.unsqueeze(-1).to(features_PGBF)
    reaching_PGBF = features_PGBF * reached_PGB1
    gram_PBFF = sum_of_others(torch.einsum("pgbf,pgbh->pbfh", reaching_PGBF, features_PGBF), dim=0)
    moment_PBF = sum_of_others(torch.einsum("pgbf,pgb->pbf", reaching_PGBF, residuals_PGB), dim=0)
    num_PB1 = sum_of_others(reached_PGB1.sum(dim=1), dim=0)
    # Where W_j is 0, so are all features, and any penalty keeps θ⁰.
    penalty_B = PENALTY_ROLLOUTS * torch.where(remaining_B > 0, remaining_B**2, 1)
    identity_FF = torch.eye(4, dtype=torch.float64, device=returns_PGB.device)
    change_PBF = torch.linalg.solve(gram_PBFF + penalty_B[:, None, None] * identity_FF, moment_PBF)
    coefficients_PBF = start_BF + torch.where(num_PB1 < MIN_ROLLOUTS, 0, change_PBF)
    return (features_PGBF * coefficients_PBF.unsqueeze(1)).sum(dim=-1).to(inputs.returns_PGB)
