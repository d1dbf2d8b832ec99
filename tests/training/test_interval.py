"""Intervals against published figures and against the normal approximation."""

import numpy as np
import pytest
from anytime_training.interval import paired_bootstrap, wilson_interval
from scipy.stats import norm


@pytest.mark.parametrize(
    ("num_right", "num_tried", "low", "high"),
    [
        (5, 10, 0.2366, 0.7634),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),  # the same
    ],
)
def test_wilson_interval(num_right: int, num_tried: int, low: float, high: float) -> None:
    assert wilson_interval(num_right, num_tried) == pytest.approx((low, high), abs=5e-5)


def test_bootstrap_of_single_runs_agrees_with_the_normal_interval() -> None:
    rng = np.random.default_rng(0)
    b_N = rng.choice([0.0, 1.0], size=2000)
    a_N = np.where(rng.random(2000) < 0.8, b_N, rng.choice([0.0, 1.0], size=2000, p=[0.2, 0.8]))
    mean, low, high = paired_bootstrap(a_N[None], b_N[None], seed=1)
    differences_N = a_N - b_N
    half = norm.ppf(0.975) * differences_N.std() / np.sqrt(2000)
    assert mean == pytest.approx(differences_N.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=half / 20)


def test_bootstrap_is_wider_for_runs_that_differ() -> None:
    b_SN = np.zeros((3, 500))
    alike, unlike = np.full((3, 500), 0.5), np.array([[0.2], [0.5], [0.8]]) * np.ones(500)
    assert paired_bootstrap(alike, b_SN, seed=0) == pytest.approx((0.5, 0.5, 0.5))
    mean, low, high = paired_bootstrap(unlike, b_SN, seed=0)
    assert mean == pytest.approx(0.5)
    assert low == pytest.approx(0.2)
    assert high == pytest.approx(0.8)


def test_bootstrap_is_deterministic() -> None:
    a_SN, b_SN = np.eye(2), np.ones((1, 2))
    assert paired_bootstrap(a_SN, b_SN, seed=3) == paired_bootstrap(a_SN, b_SN, seed=3)
