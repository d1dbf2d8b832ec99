"""The value head's one-step temporal difference (Sutton 1988; λ = 0 of GAE, arXiv 1506.02438).

Dimensions: P prompts, G rollouts per prompt, B budgets.
"""

from __future__ import annotations

import torch

from anytime_training.baselines import value
from anytime_training.baselines.base import BaselineInputs


def baseline(inputs: BaselineInputs) -> torch.Tensor:
    """R_j - δ_j, so that the advantage is δ_j = P_j r̂_j + V_{j+1} - V_j.

    As P_j r̂_j = R_j - R_{j+1}, it is V_j + R_{j+1} - V_{j+1}. There is no bootstrapping where nothing is left
    to predict: after the last budget, where R_{m+1} = V_{m+1} = 0, and where the thinking has no token in
    segment j+1, for which R_{j+1} stands in for V_{j+1}. Before the head's first fit, it is the baseline of
    `value`.

    Biased by the error of V_{j+1}, as it depends on the tokens of segment j: unbiased only where V is exact.

    Example: base prior, two budgets, R = (1, 1), V = (1/2, 3/4): baselines 1/2 + 1 - 3/4 = 3/4 and 3/4, so
    δ = 0 + 3/4 - 1/2 = 1/4 and 1 - 3/4 = 1/4.
    """
    values_PGB = value.baseline(inputs)
    if inputs.values_PGB is None:
        return values_PGB
    ahead_PGB = torch.zeros_like(values_PGB)
    ahead_PGB[..., :-1] = torch.where(
        inputs.reached_PGB[..., 1:], inputs.returns_PGB[..., 1:] - values_PGB[..., 1:], 0
    )
    return values_PGB + ahead_PGB
