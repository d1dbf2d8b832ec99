"""Advantages of thinking and of summaries, from rewards alone (arXiv 2505.13438).

The budgets b_1 < … < b_m divide thinking into segments: segment j holds the tokens t with b_{j-1} < t ≤ b_j.
The return of a segment is the weighted sum of the rewards at its own budget and at later budgets; its
advantage is the return minus a baseline. The advantage of a summary is its reward minus the mean reward of
its group. Advantages are not divided by a standard deviation.

This module owns those formulas, the budget prior, and the segment of each token. It knows no model, no
token ids and no loss.

Dimensions: P prompts, G rollouts per prompt, B budgets (m of them), A answers per budget, T tokens.
Budgets are counted from 0 in tensors and from 1 in formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

import torch

from anytime_training.config.credit import BaselineName, PriorName, SummaryPreset


def budget_prior(prior: PriorName | Sequence[float], budgets: Sequence[int]) -> torch.Tensor:
    """Weight of each budget in the objective, P_j of eq. 3.

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
    return _normalised(torch.tensor(weights, dtype=torch.float64), num_budgets=len(budgets))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """The return of each segment, and its baselines."""

    returns_PGB: torch.Tensor
    """R_j, the weighted sum of the rewards from budget j on."""
    own_past_PGB: torch.Tensor
    """V1_j, predicted from the rollout's own rewards at earlier budgets."""
    group_mean_PGB: torch.Tensor
    """V2_j, the mean return of the prompt's rollouts."""

    @property
    def mixture_PGB(self) -> torch.Tensor:
        """BRPO's baseline (j-1)/m · V1_j + (m-j+1)/m · V2_j: V1 has more weight at later budgets."""
        num_budgets = self.returns_PGB.shape[-1]
        share_B = torch.arange(num_budgets).to(self.returns_PGB) / num_budgets
        return share_B * self.own_past_PGB + (1 - share_B) * self.group_mean_PGB


def baselines(
    rewards_PGBA: torch.Tensor, prior_B: torch.Tensor, *, decay: float = 0.5, leave_one_out: bool = False
) -> Baselines:
    """Returns and baselines of the thinking. Arguments and errors: `thinking_advantages`."""
    returns_PGB = returns(rewards_PGBA, prior_B)
    return Baselines(
        returns_PGB=returns_PGB,
        own_past_PGB=own_past(rewards_PGBA, prior_B, decay=decay),
        group_mean_PGB=group_mean(returns_PGB, leave_one_out=leave_one_out),
    )


def returns(rewards_PGBA: torch.Tensor, prior_B: torch.Tensor) -> torch.Tensor:
    """R_j = Σ_{k≥j} P_k r̂_k, with r̂_k the mean of the rewards at budget k: returns_PGB."""
    weighted_PGB = _mean_rewards(rewards_PGBA) * _prior_for(rewards_PGBA, prior_B)
    return torch.stack([weighted_PGB[..., j:].sum(dim=-1) for j in range(weighted_PGB.shape[-1])], dim=-1)


def own_past(rewards_PGBA: torch.Tensor, prior_B: torch.Tensor, *, decay: float = 0.5) -> torch.Tensor:
    """V1_j = (Σ_{k<j} λ^{j-k} r̂_k / Σ_{k<j} λ^{j-k}) · Σ_{k≥j} P_k, and V1_1 = 0: own_past_PGB.

    It equals the return if later rewards equal the recent ones. `decay` is λ, in [0, 1]: 1 gives all earlier
    budgets the same weight, 0 uses the budget before j alone.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], not {decay}")
    means_PGB = _mean_rewards(rewards_PGBA)
    prior_B = _prior_for(rewards_PGBA, prior_B)
    own_past_PGB = torch.zeros_like(means_PGB)
    for j in range(1, means_PGB.shape[-1]):
        # λ^{j-k-1}: one power less changes no ratio, and serves λ = 0 as well.
        weights_B = decay ** torch.arange(j - 1, -1, -1).to(means_PGB)
        recent_PG = (means_PGB[..., :j] * weights_B).sum(dim=-1) / weights_B.sum()
        own_past_PGB[..., j] = recent_PG * prior_B[j:].sum()
    return own_past_PGB


def group_mean(returns_PGB: torch.Tensor, *, leave_one_out: bool = False) -> torch.Tensor:
    """V2_j, the mean return of the prompt's rollouts: group_mean_PGB.

    As in the authors' code, the mean includes the rollout itself, unless `leave_one_out`. With G = 1 it is 0.
    """
    num_rollouts = returns_PGB.shape[1]
    if num_rollouts == 1:
        return torch.zeros_like(returns_PGB)
    total_PGB = returns_PGB.sum(dim=1, keepdim=True)
    if leave_one_out:
        return (total_PGB - returns_PGB) / (num_rollouts - 1)
    return (total_PGB / num_rollouts).expand_as(returns_PGB)


def thinking_advantages(
    rewards_PGBA: torch.Tensor,
    prior_B: torch.Tensor,
    *,
    baseline: BaselineName = "brpo",
    decay: float = 0.5,
    leave_one_out: bool = False,
) -> torch.Tensor:
    """Advantage of the thinking tokens of each segment: R_j minus a baseline.

    One prompt, uniform prior, rewards (0,0 | 1,0 | 1,1) and (0,1 | 0,1 | 0,0) of two rollouts at three
    budgets. Means are (0, 1/2, 1) and (1/2, 1/2, 0), returns (1/2, 1/2, 1/3) and (1/3, 1/6, 0). For the
    last segment of the first rollout V1 = (1/4·0 + 1/2·1/2) / (3/4) · 1/3 = 1/9 and V2 = 1/6, so that
    A = 1/3 - (2/3·1/9 + 1/3·1/6) = 11/54.

    Args:
        rewards_PGBA: float32 or float64, finite.
        prior_B: weights of the budgets, normalised here.
        baseline: "brpo" is the mixture of V1 and V2; "v1_only" and "v2_only" are one of them; "none" is 0.
        decay: λ of V1.
        leave_one_out: V2 is the mean of the other rollouts.

    Returns:
        advantages_PGB, of the rewards' type, exactly 0 where return and baseline are equal. A segment that
        the thinking never reached has an advantage, but no token.

    Raises:
        ValueError: a wrong shape, type or value.
    """
    if baseline not in get_args(BaselineName):
        raise ValueError(f"baseline must be one of {get_args(BaselineName)}, not {baseline!r}")
    parts = baselines(rewards_PGBA, prior_B, decay=decay, leave_one_out=leave_one_out)
    if baseline == "brpo":
        return _difference(parts.returns_PGB, parts.mixture_PGB)
    if baseline == "v1_only":
        return _difference(parts.returns_PGB, parts.own_past_PGB)
    if baseline == "v2_only":
        return _difference(parts.returns_PGB, parts.group_mean_PGB)
    return parts.returns_PGB


def summary_advantages(
    rewards_PGBA: torch.Tensor,
    lengths_PGB: torch.Tensor,
    *,
    preset: SummaryPreset = "brpo",
    weight: float = 1.0,
    leave_one_out: bool = False,
) -> torch.Tensor:
    """Advantage of each summary: its reward minus the mean reward of its group.

    A group is the summaries after the same truncation of the same thinking: budgets at which the truncated
    thinking has the same length share a group. With A = 1 a group is the summaries of the prompt's rollouts
    at the same budget, whatever the lengths. Example: for lengths (2, 3, 3) and rewards (1,0 | 1,1 | 1,0)
    the group means are 1/2 and 3/4, and the advantages are (1/2, -1/2 | 1/4, 1/4 | 1/4, -3/4).

    Args:
        rewards_PGBA: float32 or float64, finite.
        lengths_PGB: thinking tokens of each truncation, min(b_j, length of the thinking); integers.
        preset: "brpo" trains all summaries; "grpo" the last summary of the largest budget, as if there were
            no other; "none" no summary.
        weight: factor on the advantages. The authors' code has 1, eq. 10 with its uniform prior 1/(m·A).
        leave_one_out: exclude the summary itself from the mean. A group of one has advantage 0 either way.

    Returns:
        advantages_PGBA, of the rewards' type, exactly 0 where all rewards of a group are equal.

    Raises:
        ValueError: a wrong shape, type or value.
    """
    if preset not in get_args(SummaryPreset):
        raise ValueError(f"preset must be one of {get_args(SummaryPreset)}, not {preset!r}")
    if not 0 <= weight < math.inf:
        raise ValueError(f"weight must be finite and not negative, not {weight}")
    _check_rewards(rewards_PGBA)
    _check_lengths(lengths_PGB, rewards_PGBA)
    last_PGBA = torch.zeros_like(rewards_PGBA)
    if preset == "none":
        return last_PGBA
    _, num_rollouts, _, num_answers = rewards_PGBA.shape
    # Size and total reward of each summary's group, in shapes that broadcast to PGBA.
    if num_answers == 1:
        size = torch.tensor(num_rollouts).to(rewards_PGBA)
        total = rewards_PGBA.sum(dim=1, keepdim=True)
    else:
        same_PGBB = lengths_PGB.unsqueeze(-1) == lengths_PGB.unsqueeze(-2)
        size = num_answers * same_PGBB.sum(dim=-1, keepdim=True).to(rewards_PGBA)
        # Not a matrix product, which may round to fewer bits on a GPU.
        total = (same_PGBB * rewards_PGBA.sum(dim=-1).unsqueeze(-2)).sum(dim=-1, keepdim=True)
    advantages_PGBA = weight * _difference(rewards_PGBA, total / size)
    if leave_one_out:
        # In a group of n, the difference from the others' mean is n/(n-1) times that from the mean of all.
        advantages_PGBA = advantages_PGBA * size / (size - 1).clamp(min=1)
    if preset == "brpo":
        return advantages_PGBA
    last_PGBA[..., -1, -1] = advantages_PGBA[..., -1, -1]
    return last_PGBA


def _difference(values: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """Values minus baseline; exactly 0 where only rounding is left, so that tokens can be left out."""
    difference = values - baseline
    noise = 8 * torch.finfo(values.dtype).eps * (values.abs() + baseline.abs())
    return torch.where(difference.abs() <= noise, 0, difference)


def _mean_rewards(rewards_PGBA: torch.Tensor) -> torch.Tensor:
    """r̂_j: means_PGB."""
    _check_rewards(rewards_PGBA)
    return rewards_PGBA.mean(dim=-1)


def _prior_for(rewards_PGBA: torch.Tensor, prior_B: torch.Tensor) -> torch.Tensor:
    return _normalised(prior_B.to(torch.float64), num_budgets=rewards_PGBA.shape[2]).to(rewards_PGBA)


def _normalised(weights_B: torch.Tensor, *, num_budgets: int) -> torch.Tensor:
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


def _check_rewards(rewards_PGBA: torch.Tensor) -> None:
    if rewards_PGBA.ndim != 4 or not rewards_PGBA.numel():
        raise ValueError(
            f"rewards must be [prompts, rollouts, budgets, answers], not of shape {tuple(rewards_PGBA.shape)}"
        )
    if rewards_PGBA.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rewards must be float32 or float64, not {rewards_PGBA.dtype}")
    if not rewards_PGBA.isfinite().all():
        raise ValueError("a reward is not a finite number")


def _check_lengths(lengths_PGB: torch.Tensor, rewards_PGBA: torch.Tensor) -> None:
    if lengths_PGB.shape != rewards_PGBA.shape[:3]:
        raise ValueError(
            f"lengths of shape {tuple(lengths_PGB.shape)} are not one for each of "
            f"{tuple(rewards_PGBA.shape[:3])}"
        )
    if lengths_PGB.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"lengths must be int32 or int64, not {lengths_PGB.dtype}")
    if (lengths_PGB < 0).any() or (lengths_PGB.diff(dim=-1) < 0).any():
        raise ValueError("a rollout's lengths must not be negative nor descend")
