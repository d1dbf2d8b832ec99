"""Samples the next token of many sequences at once, on the device that has their logits.

A sample depends only on the seed and the token's position, not on other rows or earlier samples: the inverse
of the row's distribution function maps one uniform number to a token.

Dimensions: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from anytime_server.engine.base import LEAST_LOGPROB, Sampling, TopLogprobs
from anytime_server.engine.transformers.logits import adjusted, constrained_to_schemas
from anytime_server.engine.transformers.sequence import SequenceState

ROUNDING = 1e-5
"""Of the sum of all probabilities."""


def uniforms(seeds_N: Sequence[int], positions_N: Sequence[int]) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 (N,): SplitMix64 with the seed, at the position."""
    starts_N = _mixed(np.array(seeds_N, np.uint64))
    steps_N = np.array(positions_N, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mixed(starts_N + steps_N) >> np.uint64(12)).astype(np.float64) / 2**52


def _mixed(words: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64, modulo 2^64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class Drawn(NamedTuple):
    """One sampled token for each row."""

    token_ids: list[int]
    logprobs: list[float]
    """Before temperature, bias, bans and penalties."""
    top_logprobs: list[TopLogprobs]
    """The same; empty for a row that requests none."""


def sample(logits_NV: torch.Tensor, sequences: Sequence[SequenceState]) -> Drawn:
    """Sample one token for each row."""
    samplings = [c.request.sampling for c in sequences]
    uniforms_N = uniforms([c.seed for c in sequences], [c.position for c in sequences])
    logits_NV = constrained_to_schemas(logits_NV.float(), sequences)
    logprobs_NV = torch.log_softmax(logits_NV, -1)
    drawn_N = _draw(adjusted(logits_NV, sequences), samplings, uniforms_N)
    chosen_N = logprobs_NV.gather(1, drawn_N[:, None])[:, 0]
    ids_N, logprobs_N = torch.stack([drawn_N.double(), chosen_N.double()]).cpu()  # one transfer
    num_top = [s.top_logprobs for s in samplings]
    return Drawn(ids_N.long().tolist(), logprobs_N.tolist(), _likeliest(logprobs_NV, num_top))


def _likeliest(logprobs_NV: torch.Tensor, num_top: list[int]) -> list[TopLogprobs]:
    """The `num_top` likeliest tokens of each row."""
    requesting = [row for row, num in enumerate(num_top) if num]
    top: list[TopLogprobs] = [()] * len(num_top)
    if requesting:
        rows = torch.tensor(requesting, device=logprobs_NV.device)
        max_top = min(max(num_top), logprobs_NV.shape[1])
        values_NK, ids_NK = logprobs_NV[rows].topk(max_top)
        values, ids = values_NK.clamp_min(LEAST_LOGPROB).tolist(), ids_NK.tolist()
        for i, row in enumerate(requesting):
            top[row] = tuple(zip(ids[i], values[i], strict=True))[: num_top[row]]
    return top


def _draw(scores_NV: torch.Tensor, samplings: Sequence[Sampling], uniforms_N: np.ndarray) -> torch.Tensor:
    temperatures_N = np.array([s.temperature for s in samplings])
    is_greedy_N = temperatures_N == 0
    if is_greedy_N.all():
        return scores_NV.argmax(-1)
    device = scores_NV.device
    divisors_N, points_N = _on(device, np.where(is_greedy_N, 1.0, temperatures_N), uniforms_N)
    weights_NV = torch.softmax(scores_NV / divisors_N[:, None].float(), -1)
    weights_NV = _narrowed(weights_NV, samplings)
    # In float64: the rounding errors of 100,000 terms in float32 would be as large as the small terms.
    sums_NV = weights_NV.cumsum(-1, dtype=torch.float64)
    targets_N1 = (points_N * sums_NV[:, -1])[:, None]
    drawn_N = torch.searchsorted(sums_NV, targets_N1, right=True)[:, 0]
    if is_greedy_N.any():
        drawn_N = torch.where(torch.from_numpy(is_greedy_N).to(device), scores_NV.argmax(-1), drawn_N)
    return drawn_N.clamp_max(scores_NV.shape[1] - 1)  # out of range only if a row has NaN


def _narrowed(weights_NV: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    """The weights with zero for tokens that `min_p`, `top_k` and `top_p` leave out, in vLLM's order."""
    num_ids = weights_NV.shape[1]
    for values_N, changes_N, keep in (
        (np.array([s.min_p for s in samplings]), [s.min_p > 0 for s in samplings], _likely_enough),
        (np.array([s.top_k for s in samplings]), [0 < s.top_k < num_ids for s in samplings], _likeliest_k),
        (np.array([s.top_p for s in samplings]), [s.top_p < 1 for s in samplings], _nucleus),
    ):
        if any(changes_N):
            changed = np.flatnonzero(changes_N)
            rows, values = _on(weights_NV.device, changed, values_N[changed])
            weights_NV[rows] = keep(weights_NV[rows], values)
    return weights_NV


def _likely_enough(weights_NV: torch.Tensor, min_ps_N: torch.Tensor) -> torch.Tensor:
    """Keep tokens with at least a share of the likeliest token's probability."""
    least_N1 = min_ps_N[:, None] * weights_NV.amax(-1, keepdim=True)
    return weights_NV * (weights_NV >= least_N1)


def _likeliest_k(weights_NV: torch.Tensor, top_ks_N: torch.Tensor) -> torch.Tensor:
    """Keep the `top_k` likeliest tokens, and those as likely as the last of them."""
    values_NK = weights_NV.topk(int(top_ks_N.max())).values
    return weights_NV * (weights_NV >= values_NK.gather(1, top_ks_N[:, None] - 1))


def _nucleus(weights_NV: torch.Tensor, top_ps_N: torch.Tensor) -> torch.Tensor:
    """Keep the fewest likeliest tokens that have at least a share of the whole."""
    sorted_NV, order_NV = weights_NV.sort(stable=True, dim=-1, descending=True)
    sums_NV = sorted_NV.cumsum(-1, dtype=torch.float64)
    wholes_N1 = sums_NV[:, -1:]
    wholes_N1 = torch.where(wholes_N1 > 1 - ROUNDING, 1.0, wholes_N1)  # less where others left tokens out
    kept_NV = sorted_NV * (sums_NV - sorted_NV < top_ps_N[:, None] * wholes_N1)
    kept_NV[:, 0] = sorted_NV[:, 0]
    return torch.zeros_like(weights_NV).scatter_(-1, order_NV, kept_NV)


def _on(device: torch.device, *arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(device) for array in arrays]
