"""The policy gradient loss, token by token.

Owns the clipped objective, its importance weights, the KL penalty, and the statistics of them. Knows neither
the source of advantages nor the layout of rows.

Dimensions: N learned tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from anytime_training.config.loss import LossConfig
from anytime_training.tree import LearnedTokens

MAXIMUM_PREFIX = "max_"
"""Statistics of this name are maxima; all others are sums."""


def policy_loss(
    logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    tokens: LearnedTokens,
    *,
    config: LossConfig,
    normaliser: float,
    reference_logprobs_N: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of one micro-batch; the losses of a step's micro-batches add up to the step's.

        ρ = exp(logprob - old logprob)
        w = min(exp(old logprob - sampler logprob), cap), or 1 where that is off
        loss = [ - Σ w min(ρ A, clip(ρ, 1 - low, 1 + high) A) + β Σ k3(reference) ] / normaliser

    The clipped objective is PPO's (Schulman et al. 2017, arXiv 1707.06347, eq. 7). The sum is
    divided by a constant and not by each answer's length: Dr. GRPO (Liu et al. 2025, arXiv
    2503.20783, section 3.2). w is truncated importance sampling: it corrects for the numerical
    differences between sampler and trainer (Yao et al. 2025, "Your Efficient RL Framework
    Secretly Brings You Off-Policy RL Training"; the truncation is Ionides' 2008).
    k3 is Schulman's estimator ("Approximating KL Divergence", 2020), as GRPO uses it (Shao et
    al. 2024, arXiv 2402.03300, eq. 4).

    Args:
        logprobs_N: log-probabilities of the trained model, with gradient.
        old_logprobs_N: those of the same model at the start of the step, computed by the trainer.
        normaliser: number of rollouts x the most tokens of a rollout.
        reference_logprobs_N: those of the reference model; required where `kl_coefficient` is above 0.

    Returns:
        The loss, and statistics for `merge_statistics`:
            num_tokens, num_clipped (tokens whose gradient is clipped to 0),
            sum_abs_mismatch, max_abs_mismatch (of old logprob - sampler logprob),
            sum_mismatch_k3 (an estimate of KL(sampler || old)),
            sum_importance_weight (as applied), num_truncated (weights at the cap),
            sum_kl (an estimate of KL(policy || reference); 0 without a reference).
    """
    if not normaliser > 0:
        raise ValueError(f"normaliser must be above 0, not {normaliser}")
    if config.kl_coefficient and reference_logprobs_N is None:
        raise ValueError("kl_coefficient is above 0: the reference's log-probabilities are needed")
    old_logprobs_N = old_logprobs_N.detach()
    advantages_N = tokens.advantages_N
    mismatch_N = old_logprobs_N - tokens.sampler_logprobs_N

    ratio_N = (logprobs_N - old_logprobs_N).exp()
    clipped_ratio_N = ratio_N.clamp(1 - config.clip_low, 1 + config.clip_high)
    objective_N = torch.minimum(ratio_N * advantages_N, clipped_ratio_N * advantages_N)
    if config.importance_cap is None:
        weight_N = torch.ones_like(mismatch_N)
        truncated_N = torch.zeros_like(mismatch_N, dtype=torch.bool)
    else:
        untruncated_N = mismatch_N.exp()
        truncated_N = untruncated_N > config.importance_cap
        weight_N = untruncated_N.clamp(max=config.importance_cap)
    total = -(weight_N * objective_N).sum()

    kl_N = torch.zeros_like(mismatch_N)
    if reference_logprobs_N is not None:
        kl_N = k3(reference_logprobs_N.detach() - logprobs_N)
    if config.kl_coefficient:
        total = total + config.kl_coefficient * kl_N.sum()

    with torch.no_grad():
        rose_N = (ratio_N > 1 + config.clip_high) & (advantages_N > 0)
        fell_N = (ratio_N < 1 - config.clip_low) & (advantages_N < 0)
        statistics = {
            "num_tokens": torch.tensor(len(logprobs_N), device=logprobs_N.device),
            "num_clipped": (rose_N | fell_N).sum(),
            "sum_abs_mismatch": _total(mismatch_N.abs()),
            "max_abs_mismatch": torch.cat([mismatch_N.abs(), mismatch_N.new_zeros(1)]).max().double(),
            "sum_mismatch_k3": _total(k3(mismatch_N)),
            "sum_importance_weight": _total(weight_N),
            "num_truncated": truncated_N.sum(),
            "sum_kl": _total(kl_N),
        }
    return total / normaliser, statistics


def k3(log_ratio_N: Tensor) -> Tensor:
    """An estimate of KL(q || p), never negative, where tokens were sampled from q.

    Args:
        log_ratio_N: log p - log q of each token.
    """
    return log_ratio_N.expm1() - log_ratio_N


def merge_statistics(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The statistics of several micro-batches, or ranks, together."""
    merged: dict[str, Tensor] = {}
    for part in parts:
        for name, value in part.items():
            if name not in merged:
                merged[name] = value
            elif name.startswith(MAXIMUM_PREFIX):
                merged[name] = torch.maximum(merged[name], value)
            else:
                merged[name] = merged[name] + value
    return merged


def _total(values_N: Tensor) -> Tensor:
    # In double precision, so that the split into micro-batches does not change the sum.
    return values_N.sum(dtype=torch.float64)
