"""The paired bootstrap, against what is known of means."""

import numpy as np
import pytest
from anytime_training.interval import Z_95, paired_bootstrap


def test_it_agrees_with_the_normal_interval_of_a_mean() -> None:
    differences_N = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=2000, p=[0.1, 0.6, 0.3])
    mean, low, high = paired_bootstrap(differences_N, seed=1)
    half = Z_95 * differences_N.std() / np.sqrt(2000)
    assert mean == pytest.approx(differences_N.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=half / 20)


def test_it_repeats() -> None:
    assert paired_bootstrap([1, 0, 0, 1], seed=3) == paired_bootstrap([1, 0, 0, 1], seed=3)


def test_no_difference_has_no_width() -> None:
    assert paired_bootstrap([0.25] * 10, seed=0) == pytest.approx((0.25, 0.25, 0.25))
