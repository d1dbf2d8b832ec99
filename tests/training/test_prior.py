"""Priors over the budgets, and the budgets' segments of a thinking."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from anytime_training.config.credit import PriorName
from anytime_training.prior import budget_prior, segments


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        ("base", [0, 0, 1]),
        ("uniform", [1 / 3, 1 / 3, 1 / 3]),
        ("linear", [2 / 12, 4 / 12, 6 / 12]),
        ([1, 0, 3], [0.25, 0, 0.75]),
    ],
)
def test_priors(prior: PriorName | list[float], expected: list[float]) -> None:
    actual = budget_prior(prior, [2, 4, 6])
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("prior", "budgets", "message"),
    [
        ("quadratic", [2, 4], "must be one of .*'linear'.* not 'quadratic'"),
        ([1.0], [2, 4], r"shape \(1,\) does not weigh 2 budgets"),
        ([1.0, 2.0, 3.0], [2, 4], r"shape \(3,\) does not weigh 2 budgets"),
        ([1.0, -0.5], [2, 4], "not negative"),
        ([1.0, float("nan")], [2, 4], "finite"),
        ([0.0, 0.0], [2, 4], "all weights of the prior are zero"),
        ("base", [], "there must be one"),
        ("base", [4, 4], "ascend"),
        ("base", [0, 4], "positive"),
    ],
)
def test_impossible_priors_are_refused(prior: Any, budgets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        budget_prior(prior, budgets)


def test_segments_end_with_their_budget() -> None:
    assert segments(8, [2, 4, 8]).tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert segments(3, [2, 4, 8]).tolist() == [0, 0, 1]
    assert segments(0, [2]).tolist() == []
    with pytest.raises(ValueError, match="9 thinking tokens are not within the largest budget of 8"):
        segments(9, [2, 8])
