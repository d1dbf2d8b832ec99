"""Advantages of thinking and of summaries, from rewards alone (arXiv 2505.13438).

The budgets b_1 < … < b_m divide thinking into segments: segment j holds the tokens t with b_{j-1} < t ≤ b_j.
The return of a segment is the weighted sum of the rewards at its own budget and at later budgets; its
advantage is the return minus a baseline (`anytime_training.baselines`). The advantage of a summary is its
reward minus the mean reward of its group. Advantages are not divided by a standard deviation.

This module knows no model, no token ids and no loss.

Dimensions: P prompts, G rollouts per prompt, B budgets (m of them), A answers per budget.
Budgets are counted from 0 in tensors and from 1 in formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from anytime_training.baselines import BaselineName, load_baseline
from anytime_training.baselines.base import BaselineInputs, mixture, reached_segments
from anytime_training.baselines.group_mean import group_mean
from anytime_training.baselines.own_past import own_past
from anytime_training.config.credit import SummaryPreset
from anytime_training.returns import check_rewards, returns


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
        return mixture(self.own_past_PGB, self.group_mean_PGB)


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


def thinking_advantages(
    rewards_PGBA: torch.Tensor,
    prior_B: torch.Tensor,
    *,
    baseline: BaselineName = "brpo",
    decay: float = 0.5,
    leave_one_out: bool = False,
    lengths_PGB: torch.Tensor | None = None,
    values_PGB: torch.Tensor | None = None,
) -> torch.Tensor:
    """Advantage of the thinking tokens of each segment: R_j minus a baseline.

    One prompt, uniform prior, rewards (0,0 | 1,0 | 1,1) and (0,1 | 0,1 | 0,0) of two rollouts at three
    budgets. Means are (0, 1/2, 1) and (1/2, 1/2, 0), returns (1/2, 1/2, 1/3) and (1/3, 1/6, 0). For the
    last segment of the first rollout V1 = (1/4·0 + 1/2·1/2) / (3/4) · 1/3 = 1/9 and V2 = 1/6, so that
    A = 1/3 - (2/3·1/9 + 1/3·1/6) = 11/54.

    Args:
        rewards_PGBA: float32 or float64, finite.
        prior_B: weights of the budgets, normalised here.
        baseline: a name of `baselines.BASELINES`.
        decay: λ of V1.
        leave_one_out: V2 is the mean of the other rollouts.
        lengths_PGB: thinking tokens of each truncation, for baselines that are fitted to the rollouts that
            reach a segment; without it, all of them do.
        values_PGB: the value head's predictions, for the baselines that need them.

    Returns:
        advantages_PGB, of the rewards' type, exactly 0 where return and baseline are equal. A segment that
        the thinking never reached has an advantage, but no token.

    Raises:
        ValueError: a wrong shape, type or value.
    """
    function = load_baseline(baseline)
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], not {decay}")
    returns_PGB = returns(rewards_PGBA, prior_B)
    if lengths_PGB is None:
        reached_PGB = torch.ones_like(returns_PGB, dtype=torch.bool)
    else:
        _check_lengths(lengths_PGB, rewards_PGBA)
        reached_PGB = reached_segments(lengths_PGB)
    inputs = BaselineInputs(
        rewards_PGBA=rewards_PGBA,
        prior_B=prior_B,
        returns_PGB=returns_PGB,
        reached_PGB=reached_PGB,
        decay=decay,
        leave_one_out=leave_one_out,
        values_PGB=values_PGB,
    )
    return _difference(returns_PGB, function(inputs))


def summary_advantages(
    rewards_PGBA: torch.Tensor,
    lengths_PGB: torch.Tensor,
    *,
    preset: SummaryPreset = "brpo",
    weight: float = 1.0,
    leave_one_out: bool = False,
    counts_B: Sequence[int] | None = None,
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
        counts_B: summaries at each budget, where they are not A everywhere; further elements are ignored.

    Returns:
        advantages_PGBA, of the rewards' type, exactly 0 where all rewards of a group are equal.

    Raises:
        ValueError: a wrong shape, type or value.
    """
    if preset not in get_args(SummaryPreset):
        raise ValueError(f"preset must be one of {get_args(SummaryPreset)}, not {preset!r}")
    if not 0 <= weight < math.inf:
        raise ValueError(f"weight must be finite and not negative, not {weight}")
    check_rewards(rewards_PGBA)
    _check_lengths(lengths_PGB, rewards_PGBA)
    last_PGBA = torch.zeros_like(rewards_PGBA)
    if preset == "none":
        return last_PGBA
    _, num_rollouts, num_budgets, num_answers = rewards_PGBA.shape
    counts = torch.full((num_budgets,), num_answers) if counts_B is None else torch.tensor(counts_B)
    if counts.shape != (num_budgets,) or not 1 <= int(counts.min()) <= int(counts.max()) == num_answers:
        raise ValueError(f"{counts.tolist()} are not numbers of summaries at {num_budgets} budgets")
    counts = counts.to(rewards_PGBA.device)
    mask_BA = torch.arange(num_answers, device=counts.device) < counts.unsqueeze(-1)
    # Size and total reward of each summary's group, in shapes that broadcast to PGBA.
    if num_answers == 1:
        size = torch.tensor(num_rollouts).to(rewards_PGBA)
        total = rewards_PGBA.sum(dim=1, keepdim=True)
    else:
        same_PGBB = lengths_PGB.unsqueeze(-1) == lengths_PGB.unsqueeze(-2)
        size = (same_PGBB * counts).sum(dim=-1, keepdim=True).to(rewards_PGBA)
        # Not a matrix product, which may round to fewer bits on a GPU.
        sums_PGB = torch.where(mask_BA, rewards_PGBA, 0).sum(dim=-1)
        total = (same_PGBB * sums_PGB.unsqueeze(-2)).sum(dim=-1, keepdim=True)
    advantages_PGBA = torch.where(mask_BA, weight * _difference(rewards_PGBA, total / size), 0)
    if leave_one_out:
        # In a group of n, the difference from the others' mean is n/(n-1) times that from the mean of all.
        advantages_PGBA = advantages_PGBA * size / (size - 1).clamp(min=1)
    if preset == "brpo":
        return advantages_PGBA
    last = int(counts[-1]) - 1
    last_PGBA[..., -1, last] = advantages_PGBA[..., -1, last]
    return last_PGBA


def _difference(values: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """Values minus baseline; exactly 0 where only rounding is left, so that tokens can be left out."""
    difference = values - baseline
    noise = 8 * torch.finfo(values.dtype).eps * (values.abs() + baseline.abs())
    return torch.where(difference.abs() <= noise, 0, difference)


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
