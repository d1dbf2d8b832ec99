"""Intervals against published figures and against the normal approximation."""

import numpy as np
import pytest
from anytime_training.interval import (
    mean_t_interval,
    paired_bootstrap,
    paired_t_interval,
    welch_t_interval,
    wilson_interval,
)
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


def test_bootstrap_covers_problems_and_not_runs() -> None:
    b_SN = np.zeros((3, 500))
    # Runs that differ by a constant differ by the same on every problem.
    unlike_SN = np.array([[0.2], [0.5], [0.8]]) * np.ones(500)
    assert paired_bootstrap(unlike_SN, b_SN, seed=0) == pytest.approx((0.5, 0.5, 0.5))
    # Problems that differ: half of them 0, half 1, of standard error 1/2 / sqrt(500).
    mean, low, high = paired_bootstrap(np.tile([0.0, 1.0], (3, 250)), b_SN, seed=0)
    half = norm.ppf(0.975) * 0.5 / np.sqrt(500)
    assert mean == 0.5
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=half / 20)


def test_bootstrap_pairs_problems() -> None:
    # On each problem the two methods differ by 1/4: nothing is left to chance.
    hard_N = np.random.default_rng(0).random((1, 200))
    assert paired_bootstrap(hard_N + 0.25, hard_N, seed=0) == pytest.approx((0.25, 0.25, 0.25))


def test_paired_t_interval_by_hand() -> None:
    # Differences 2, 3, 4: mean 3, standard error 1/sqrt(3), t(2) = 4.302653.
    a_S, b_S = np.array([3.0, 5.0, 7.0]), np.array([1.0, 2.0, 3.0])
    half = 4.302653 / np.sqrt(3)
    assert paired_t_interval(a_S, b_S) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)
    with pytest.raises(ValueError, match="3 runs cannot be paired with 2"):
        paired_t_interval(a_S, b_S[:2])


def test_welch_t_interval_by_hand() -> None:
    # Variances 1 and 16 over n = 3 and 5: shares 1/3 and 16/5, standard error sqrt(53/15) = 1.879716, degrees
    # (53/15)² / ((1/3)²/2 + (16/5)²/4) = 4.773152, t of it 2.607766, half 4.901860.
    a_S, b_S = np.array([9.0, 10.0, 11.0]), np.array([1.0, 1.0, 5.0, 9.0, 9.0])
    assert welch_t_interval(a_S, b_S) == pytest.approx((5, 5 - 4.901860, 5 + 4.901860), abs=1e-5)


def test_mean_t_interval() -> None:
    # Mean 0.5, standard error sqrt(0.02 / 3) / 2 = 0.040825, t(3) = 3.182446.
    half = 3.182446 * 0.040825
    mean = mean_t_interval(np.array([0.4, 0.5, 0.5, 0.6]))
    assert mean == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-6)


def test_single_runs_have_no_t_interval() -> None:
    one_S, two_S = np.array([0.5]), np.array([0.25, 0.25])
    assert mean_t_interval(one_S) == pytest.approx((0.5, np.nan, np.nan), nan_ok=True)
    assert welch_t_interval(one_S, two_S) == pytest.approx((0.25, np.nan, np.nan), nan_ok=True)
    assert paired_t_interval(two_S, two_S) == (0, 0, 0)
    assert welch_t_interval(two_S + 1, two_S) == (1, 1, 1)


def test_bootstrap_is_deterministic() -> None:
    a_SN, b_SN = np.eye(2), np.ones((1, 2))
    assert paired_bootstrap(a_SN, b_SN, seed=3) == paired_bootstrap(a_SN, b_SN, seed=3)
