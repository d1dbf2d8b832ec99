"""Signal and noise of gradients, by hand and by simulation.

Dimensions: P prompts, D parameters.
"""

from __future__ import annotations

import pytest
import torch
from anytime_training.signal_to_noise import CountSketch, Estimate, Moments, jackknife, moments


def test_by_hand() -> None:
    # Products 0, 4, 4 and squares 4, 4, 8, as the docstring has them. Without the first prompt: one product
    # of 4, and squares 4 and 8, of mean 6; without the second the same; without the third 0, and 4.
    found = moments(torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]))
    assert found.signal_Q.tolist() == pytest.approx([8 / 3, 4, 4, 0])
    assert found.trace_Q.tolist() == pytest.approx([8 / 3, 2, 2, 4])
    assert found.ratio.value == pytest.approx(1)
    assert found.relative_trace(found).rounded() == {"value": 1, "low": 1, "high": 1}


def test_jackknife_of_a_mean_is_its_t_interval() -> None:
    # Values 1, 2, 6 of mean 3; without each: 4, 3.5, 1.5. The standard error is that of the mean, sqrt(7/3).
    found = jackknife(torch.tensor([3.0, 4.0, 3.5, 1.5]))
    half = 4.302653 * (7 / 3) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)


def test_relative_trace_has_the_interval_of_its_logarithm() -> None:
    # Ratios 2, 1, 4, 2: logarithms log 2 · (1, 0, 2, 1), whose standard error is 2/sqrt(3) log 2.
    mine = Moments(signal_Q=torch.zeros(4), trace_Q=torch.tensor([2.0, 1.0, 4.0, 2.0]))
    others = Moments(signal_Q=torch.zeros(4), trace_Q=torch.ones(4))
    half = 4.302653 * 2 / 3**0.5
    found = mine.relative_trace(others)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2 * 2**-half, 2 * 2**half), rel=1e-4)


def test_numbers_that_are_not_finite_are_none_in_records() -> None:
    estimate = Estimate(value=1.2345678, low=float("-inf"), high=float("nan"))
    assert estimate.rounded() == {"value": 1.2346, "low": None, "high": None}


def test_two_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="three prompts, not 2"):
        moments(torch.ones(2, 4))


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_known_gradients(scale: float) -> None:
    # μ = (scale, 0, …) and unit noise in 20 dimensions: signal is scale², trace is 20. The plain |mean|² of
    # 40 prompts would be too large by 20 / 40.
    random = torch.Generator().manual_seed(0)
    signals, num_covered, num_trials = [], 0, 400
    for _ in range(num_trials):
        gradients_PD = torch.randn((40, 20), generator=random)
        gradients_PD[:, 0] += scale
        found = moments(gradients_PD)
        signals.append(found.signal.value)
        num_covered += found.signal.low <= scale**2 <= found.signal.high
        assert found.trace.value == pytest.approx(20, rel=0.3)
    assert sum(signals) / num_trials == pytest.approx(scale**2, abs=0.06)
    assert num_covered / num_trials >= 0.9


def test_noise_of_a_better_baseline_is_smaller() -> None:
    random = torch.Generator().manual_seed(0)
    noise_PD = torch.randn((100, 10), generator=random)
    plain, better = moments(1 + noise_PD), moments(1 + noise_PD / 2)
    relative = better.relative_trace(plain)
    assert relative.value == pytest.approx(0.25, abs=0.01)
    # Of the same prompts, the traces' ratio is known far better than either of them.
    assert relative.high - relative.low < (better.trace.high - better.trace.low) / plain.trace.value
    assert better.ratio.value > 2 * plain.ratio.value


def test_sketch_keeps_inner_products() -> None:
    random = torch.Generator().manual_seed(0)
    vectors_ND = torch.randn((6, 10_001), generator=random)
    vectors_ND[1:] += vectors_ND[0]
    sketches_NK = CountSketch(10_001, 2_000)(vectors_ND)
    assert sketches_NK.shape == (6, 2_000)
    norms_N = vectors_ND.norm(dim=-1)
    error_NN = (sketches_NK @ sketches_NK.T - vectors_ND @ vectors_ND.T) / (norms_N[:, None] * norms_N)
    assert error_NN.abs().max() < 4 * (2 / 2_000) ** 0.5
    assert error_NN.abs().max() > 0


def test_sketch_is_linear_and_unbiased() -> None:
    one_D, other_D = torch.arange(1.0, 8.0), torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0])
    products = []
    for seed in range(4_000):
        sketches_NK = CountSketch(7, 3, seed=seed)(torch.stack([one_D, other_D, one_D + other_D]))
        assert torch.allclose(sketches_NK[0] + sketches_NK[1], sketches_NK[2], atol=1e-5)
        products.append((sketches_NK[0] @ sketches_NK[1]).item())
    assert sum(products) / len(products) == pytest.approx((one_D @ other_D).item(), rel=0.05)


def test_short_vectors_are_kept() -> None:
    vectors_ND = torch.arange(6.0).reshape(2, 3)
    assert CountSketch(3, 3)(vectors_ND).tolist() == vectors_ND.tolist()
