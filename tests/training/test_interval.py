"""The paired bootstrap, against what is known of means."""

import numpy as np
import pytest
from anytime_training.interval import Z_95, paired_bootstrap


def test_of_one_run_each_it_agrees_with_the_normal_interval_of_paired_differences() -> None:
    rng = np.random.default_rng(0)
    b_N = rng.choice([0.0, 1.0], size=2000)
    a_N = np.where(rng.random(2000) < 0.8, b_N, rng.choice([0.0, 1.0], size=2000, p=[0.2, 0.8]))
    mean, low, high = paired_bootstrap(a_N[None], b_N[None], seed=1)
    differences_N = a_N - b_N
    half = Z_95 * differences_N.std() / np.sqrt(2000)
    assert mean == pytest.approx(differences_N.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=half / 20)


def test_runs_that_differ_make_it_wider() -> None:
    b_SN = np.zeros((3, 500))
    alike, unlike = np.full((3, 500), 0.5), np.array([[0.2], [0.5], [0.8]]) * np.ones(500)
    assert paired_bootstrap(alike, b_SN, seed=0) == pytest.approx((0.5, 0.5, 0.5))
    mean, low, high = paired_bootstrap(unlike, b_SN, seed=0)
    assert mean == pytest.approx(0.5)
    assert low == pytest.approx(0.2)
    assert high == pytest.approx(0.8)


def test_it_repeats() -> None:
    a_SN, b_SN = np.eye(2), np.ones((1, 2))
    assert paired_bootstrap(a_SN, b_SN, seed=3) == paired_bootstrap(a_SN, b_SN, seed=3)
