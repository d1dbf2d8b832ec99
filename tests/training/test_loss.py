"""The loss against numbers computed by hand, and against finite differences."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from anytime_training.config.loss import LossConfig
from anytime_training.loss import k3, merge_statistics, policy_loss
from anytime_training.tree import LearnedTokens
from torch import Tensor

OFF = LossConfig(importance_cap=None)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def tokens_of(advantages: Tensor, sampler_logprobs: Tensor) -> LearnedTokens:
    return LearnedTokens(advantages_N=advantages, sampler_logprobs_N=sampler_logprobs)


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "gradient", "num_clipped"),
    [
        (1.1, 2.0, 2.2, 2.2, 0),
        (1.5, 2.0, 2.4, 0.0, 1),  # above the clip: no gradient
        (0.5, 2.0, 1.0, 1.0, 0),  # below the clip with a positive advantage: not clipped
        (0.9, -2.0, -1.8, -1.8, 0),
        (0.5, -2.0, -1.6, 0.0, 1),  # below the clip: no gradient
        (1.5, -2.0, -3.0, -3.0, 0),  # above the clip with a negative advantage: not clipped
    ],
)
def test_one_token(
    ratio: float, advantage: float, objective: float, gradient: float, num_clipped: int
) -> None:
    old = double(-1.0)
    logprob = double(-1.0 + math.log(ratio)).requires_grad_()
    loss, statistics = policy_loss(
        logprob, old, tokens_of(double(advantage), old), config=OFF, normaliser=4.0
    )
    loss.backward()
    assert logprob.grad is not None
    torch.testing.assert_close(loss, torch.tensor(-objective / 4, dtype=torch.float64))
    torch.testing.assert_close(logprob.grad, double(-gradient / 4))
    assert statistics["num_clipped"] == num_clipped


def test_clip_bounds_are_independent() -> None:
    config = LossConfig(clip_low=0.1, clip_high=0.5, importance_cap=None)
    old = double(-1.0, -1.0)
    logprobs = old + double(math.log(2.0), math.log(0.2))
    loss, statistics = policy_loss(
        logprobs, old, tokens_of(double(1.0, -1.0), old), config=config, normaliser=1.0
    )
    assert loss.item() == pytest.approx(-(1.5 - 0.9))
    assert statistics["num_clipped"] == 2


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "num_clipped"),
    [
        (1.3, 1.0, 1.3, 0),  # within 1 + high of 1.5, above 1 + low
        (1.6, 1.0, 1.5, 1),
        (0.8, -1.0, -0.9, 1),  # below 1 - low of 0.9, within 1 - high
        (0.95, -1.0, -0.95, 0),
    ],
)
def test_each_clip_bound_is_on_its_own_side(
    ratio: float, advantage: float, objective: float, num_clipped: int
) -> None:
    config = LossConfig(clip_low=0.1, clip_high=0.5, importance_cap=None)
    old = double(-1.0)
    loss, statistics = policy_loss(
        old + math.log(ratio), old, tokens_of(double(advantage), old), config=config, normaliser=1.0
    )
    assert loss.item() == pytest.approx(-objective)
    assert statistics["num_clipped"] == num_clipped


def test_importance_weights() -> None:
    """Old over sampler: 1.5 and 0.5 are below the cap, 4 is capped at 2."""
    old = double(-1.0, -1.0, -1.0)
    sampler = old - double(math.log(1.5), math.log(4.0), math.log(0.5))
    tokens = tokens_of(double(1.0, 10.0, -100.0), sampler)
    logprobs = old.clone().requires_grad_()
    loss, statistics = policy_loss(logprobs, old, tokens, config=LossConfig(), normaliser=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(-(1.5 * 1 + 2 * 10 - 0.5 * 100) / 2)
    torch.testing.assert_close(logprobs.grad, -double(1.5, 20.0, -50.0) / 2)
    assert statistics["num_truncated"] == 1
    assert statistics["sum_importance_weight"].item() == pytest.approx(4.0)

    unweighted, statistics = policy_loss(logprobs, old, tokens, config=OFF, normaliser=2.0)
    assert unweighted.item() == pytest.approx(89 / 2)
    assert statistics["num_truncated"] == 0
    assert statistics["sum_importance_weight"] == 3


def test_no_gradient_through_weights_or_old() -> None:
    old, sampler = double(-1.0).requires_grad_(), double(-1.2)
    logprobs = double(-1.1).requires_grad_()
    loss, _ = policy_loss(logprobs, old, tokens_of(double(1.0), sampler), config=LossConfig(), normaliser=1.0)
    loss.backward()
    assert old.grad is None
    assert logprobs.grad is not None


def test_mismatch_statistics() -> None:
    old, sampler = double(-1.0, -2.0), double(-1.25, -1.5)
    _, statistics = policy_loss(old, old, tokens_of(double(1.0, 1.0), sampler), config=OFF, normaliser=1.0)
    assert statistics["num_tokens"] == 2
    assert statistics["sum_abs_mismatch"] == 0.75
    assert statistics["max_abs_mismatch"] == 0.5
    expected = (math.exp(0.25) - 1 - 0.25) + (math.exp(-0.5) - 1 + 0.5)
    assert statistics["sum_mismatch_k3"].item() == pytest.approx(expected)


def test_kl_to_a_reference() -> None:
    config = LossConfig(kl_coefficient=0.5, importance_cap=None)
    logprobs = double(-1.0).requires_grad_()
    reference = double(-1.0 + math.log(3.0))
    loss, statistics = policy_loss(
        logprobs,
        logprobs,
        tokens_of(double(0.0), logprobs.detach()),
        config=config,
        normaliser=2.0,
        reference_logprobs_N=reference,
    )
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * (2 - math.log(3.0)) / 2)
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(0.5 * (1 - 3.0) / 2)
    assert statistics["sum_kl"].item() == pytest.approx(2 - math.log(3.0))


def test_k3_estimates_the_divergence() -> None:
    """Its mean under q is KL(q || p), and it is never negative."""
    q, p = double(0.2, 0.5, 0.3), double(0.4, 0.35, 0.25)
    estimates = k3(p.log() - q.log())
    assert (estimates > 0).all()
    torch.testing.assert_close((q * estimates).sum(), (q * (q.log() - p.log())).sum())


def random_case(num_tokens: int) -> tuple[Tensor, Tensor, LearnedTokens, Tensor]:
    generator = torch.Generator().manual_seed(num_tokens)

    def noise() -> Tensor:
        return torch.randn(num_tokens, dtype=torch.float64, generator=generator)

    sampler = -noise().exp()
    old = sampler + 0.5 * noise()
    return old + 0.3 * noise(), old, tokens_of(noise(), sampler), old + 0.4 * noise()


def test_finite_differences() -> None:
    logprobs, old, tokens, reference = random_case(40)
    config = LossConfig(kl_coefficient=0.1)

    def loss_of(values: Tensor) -> Tensor:
        loss, _ = policy_loss(
            values, old, tokens, config=config, normaliser=7.0, reference_logprobs_N=reference
        )
        return loss

    assert torch.autograd.gradcheck(loss_of, (logprobs.requires_grad_(),), rtol=1e-6)


def test_micro_batches_add_up() -> None:
    logprobs, old, tokens, reference = random_case(50)
    config = LossConfig(kl_coefficient=0.1)

    def part(first: int, last: int) -> tuple[Tensor, dict[str, Tensor]]:
        some = slice(first, last)
        some_tokens = tokens_of(tokens.advantages_N[some], tokens.sampler_logprobs_N[some])
        return policy_loss(
            logprobs[some],
            old[some],
            some_tokens,
            config=config,
            normaliser=7.0,
            reference_logprobs_N=reference[some],
        )

    whole_loss, whole = part(0, 50)
    parts = [part(0, 13), part(13, 13), part(13, 50)]
    torch.testing.assert_close(sum(loss for loss, _ in parts), whole_loss)
    merged = merge_statistics(statistics for _, statistics in parts)
    assert merged.keys() == whole.keys()
    assert whole["num_clipped"] > 0
    assert whole["num_truncated"] > 0
    for name, value in whole.items():
        torch.testing.assert_close(merged[name], value, msg=name)


def test_missing_arguments_are_refused() -> None:
    logprobs, old, tokens, _ = random_case(3)
    with pytest.raises(ValueError, match="normaliser"):
        policy_loss(logprobs, old, tokens, config=OFF, normaliser=0.0)
    with pytest.raises(ValueError, match="reference"):
        policy_loss(logprobs, old, tokens, config=LossConfig(kl_coefficient=0.1), normaliser=1.0)


def test_the_config_can_turn_weights_off_and_loads_no_torch() -> None:
    assert LossConfig.model_validate({"importance_cap": "off"}).importance_cap is None
    assert LossConfig.model_validate({"importance_cap": None}).importance_cap is None
    assert LossConfig().importance_cap == 2.0
    with pytest.raises(ValueError, match="importance_cap"):
        LossConfig.model_validate({"importance_cap": "none"})
    code = "import sys, anytime_training.config.loss; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("ratio", "advantage", "num_clipped"),
    [(0.5, 0.5, 0), (0.5, 0.0, 0), (1.5, 0.0, 0), (1.5, 0.5, 1), (0.5, -0.5, 1), (1.5, -0.5, 0)],
)
def test_a_token_is_clipped_where_its_advantage_would_move_it_further(
    ratio: float, advantage: float, num_clipped: int
) -> None:
    old = double(-1.0)
    _, statistics = policy_loss(
        old + math.log(ratio), old, tokens_of(double(advantage), old), config=OFF, normaliser=1.0
    )
    assert statistics["num_clipped"] == num_clipped


def test_sums_of_single_precision_are_exact() -> None:
    """2^24 + 1 is no float32: the sum would lose the second token."""
    old = torch.zeros(2)
    sampler = torch.tensor([-(2.0**24), -1.0])
    _, statistics = policy_loss(old, old, tokens_of(torch.ones(2), sampler), config=OFF, normaliser=1.0)
    assert statistics["sum_abs_mismatch"].item() == 2**24 + 1


def test_statistics_are_on_the_device_of_the_tokens() -> None:
    values = torch.zeros(2, device="meta")
    _, statistics = policy_loss(values, values, tokens_of(values, values), config=OFF, normaliser=1.0)
    assert {value.device.type for value in statistics.values()} == {"meta"}
