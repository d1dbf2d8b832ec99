"""The budget prior of the objective, and the segments that the budgets divide thinking into.

Knows no rewards. Budgets are counted from 0 in tensors and from 1 in formulas.

Dimensions: B budgets, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import get_args

import torch

from anytime_training.config.credit import PriorName


def budget_prior(prior: PriorName | Sequence[float], budgets: Sequence[int]) -> torch.Tensor:
    """Weight of each budget in the objective, P_j of eq. 3 (arXiv 2505.13438).

    For budgets 2, 4, 6 "base" is (0, 0, 1), the largest budget alone; "uniform" is (1/3, 1/3, 1/3);
    "linear", P_j ∝ b_j, is (1/6, 1/3, 1/2). Custom weights, one for each budget, are normalised.

    Returns:
        prior_B, float64, of sum 1.

    Raises:
        ValueError: unknown name; wrong number of weights; a weight that is negative or not finite; all
            weights zero; budgets that do not ascend.
    """
    _check_budgets(budgets)
    weights: Sequence[float]
    if prior == "base":
        weights = [0.0] * (len(budgets) - 1) + [1.0]
    elif prior == "uniform":
        weights = [1.0] * len(budgets)
    elif prior == "linear":
        weights = [float(budget) for budget in budgets]
    elif isinstance(prior, str):
        raise ValueError(f"the prior must be one of {get_args(PriorName)} or weights, not {prior!r}")
    else:
        weights = prior
    return normalised(torch.tensor(weights, dtype=torch.float64), num_budgets=len(budgets))


def segments(num_tokens: int, budgets: Sequence[int]) -> torch.Tensor:
    """Segment of each thinking token: for t = 1 … T the index of the smallest b_j ≥ t.

    `segments(5, [2, 4, 8])` is (0, 0, 1, 1, 2). Thus `advantages_PGB[p, g, segments_T]` are the advantages
    of a rollout's thinking tokens.

    Returns:
        segments_T, int64.

    Raises:
        ValueError: more tokens than the largest budget; budgets that do not ascend.
    """
    _check_budgets(budgets)
    if not 0 <= num_tokens <= budgets[-1]:
        raise ValueError(f"{num_tokens} thinking tokens are not within the largest budget of {budgets[-1]}")
    return torch.searchsorted(torch.tensor(budgets), torch.arange(1, num_tokens + 1))


def normalised(weights_B: torch.Tensor, *, num_budgets: int) -> torch.Tensor:
    """The weights divided by their sum.

    Raises:
        ValueError: wrong number of weights; a weight that is negative or not finite; all weights zero.
    """
    if weights_B.shape != (num_budgets,):
        raise ValueError(f"a prior of shape {tuple(weights_B.shape)} does not weigh {num_budgets} budgets")
    if not weights_B.isfinite().all() or (weights_B < 0).any():
        raise ValueError(f"weights of a prior must be finite and not negative: {weights_B.tolist()}")
    if not (total := weights_B.sum()) > 0:
        raise ValueError("all weights of the prior are zero")
    return weights_B / total


def _check_budgets(budgets: Sequence[int]) -> None:
    if not budgets or budgets[0] < 1 or any(a >= b for a, b in pairwise(budgets)):
        raise ValueError(f"budgets must be positive and ascend, and there must be one: {list(budgets)}")
