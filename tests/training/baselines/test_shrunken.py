"""The shrunken group mean by hand."""

from __future__ import annotations

import pytest
import torch
from anytime_training.baselines import load_baseline
from anytime_training.baselines.base import BaselineInputs
from anytime_training.baselines.shrunken import shrunken_mean


def groups(*returns_G: list[float]) -> torch.Tensor:
    """One budget: a list of returns for each prompt."""
    return torch.tensor(returns_G, dtype=torch.float64).unsqueeze(-1)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        # σ²_w = 1/4 and σ²_b = 1/8 - 1/8 = 0: s = 1, and μ = 3/4 for both rollouts.
        (([0, 1], [1, 1]), [3 / 4, 3 / 4]),
        # σ²_w = 0: s = 0, and the baseline is the other rollout's return.
        (([0, 0], [1, 1]), [1, 0]),
        # Means 0, 1/2, 1: variance 1/4. σ²_w = 1/6, σ²_b = 1/4 - 1/12 = 1/6: s = 1/2, μ = 1/2.
        (([0, 0], [0, 1], [1, 1]), [3 / 4, 1 / 4]),
        # No variance at all: s = 0.
        (([1, 1], [1, 1]), [1, 0]),
    ],
)
def test_by_hand(others: tuple[list[float], ...], expected: list[float]) -> None:
    values = shrunken_mean(groups([0, 1], *others))
    torch.testing.assert_close(values[0, :, 0], torch.tensor(expected, dtype=torch.float64))


def test_three_rollouts() -> None:
    # Others (0, 0, 3) and (3, 3, 3): σ²_w = 3/2; means 1 and 3, σ²_b = 2 - 1/2 = 3/2; s = 3/4 / (9/4) = 1/3.
    values = shrunken_mean(groups([0, 2, 4], [0, 0, 3], [3, 3, 3]))
    expected = [2 / 3 * 3 + 2 / 3, 2 / 3 * 2 + 2 / 3, 2 / 3 * 1 + 2 / 3]
    torch.testing.assert_close(values[0, :, 0], torch.tensor(expected, dtype=torch.float64))


def test_fallbacks() -> None:
    assert shrunken_mean(groups([0, 1], [1, 1])).tolist() == [[[1], [0]], [[1], [1]]]  # two prompts: R̄
    assert shrunken_mean(groups([1], [0], [1])).flatten().tolist() == [1 / 2, 1, 1 / 2]  # single rollouts: μ
    assert shrunken_mean(groups([1])).tolist() == [[[0]]]
    assert shrunken_mean(groups([0, 1], [0, 0]).float()).dtype == torch.float32


def test_takes_the_place_of_v2_in_the_mixture() -> None:
    rewards = torch.tensor([[[[0.0], [1.0]], [[1.0], [1.0]]]], dtype=torch.float64)
    prior = torch.tensor([0.0, 1.0])
    returns_PGB = torch.tensor([[[1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    inputs = BaselineInputs(
        rewards_PGBA=rewards,
        prior_B=prior,
        returns_PGB=returns_PGB,
        reached_PGB=torch.ones(1, 2, 2, dtype=torch.bool),
        decay=0.5,
        leave_one_out=False,
    )
    # At the second budget V1 is r_1, and with a single prompt the shrunken mean is the other's return.
    assert load_baseline("brpo_shrunken")(inputs).tolist() == [[[1, 1 / 2], [1, 1]]]
