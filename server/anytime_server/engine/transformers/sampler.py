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

from anytime_server.engine.base import LEAST_LOGPROB, TopLogprobs
from anytime_server.engine.transformers.sequence import SequenceState

BANNED_LOGIT = -1e9
"""Finite, so that a row whose allowed tokens are all banned still has a distribution."""


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
    """Before temperature, nucleus and bans."""
    top_logprobs: list[TopLogprobs]
    """Before temperature, nucleus and bans; empty for a row that requests none."""


def sample(logits_NV: torch.Tensor, sequences: Sequence[SequenceState]) -> Drawn:
    """Sample one token for each row."""
    samplings = [c.request.sampling for c in sequences]
    temperatures_N = np.array([s.temperature for s in samplings])
    top_ps_N = np.array([s.top_p for s in samplings])
    uniforms_N = uniforms([c.seed for c in sequences], [c.position for c in sequences])

    logits_NV = _constrained_to_schemas(logits_NV.float(), sequences)
    logprobs_NV = torch.log_softmax(logits_NV, -1)
    scores_NV = _without_banned(logits_NV, sequences)
    drawn_N = _draw(scores_NV, temperatures_N, top_ps_N, uniforms_N)
    chosen_N = logprobs_NV.gather(1, drawn_N[:, None])[:, 0]
    ids_N, logprobs_N = torch.stack([drawn_N.double(), chosen_N.double()]).cpu()  # one transfer
    num_top = [s.top_logprobs for s in samplings]
    return Drawn(ids_N.long().tolist(), logprobs_N.tolist(), _likeliest(logprobs_NV, num_top))


def _constrained_to_schemas(logits_NV: torch.Tensor, sequences: Sequence[SequenceState]) -> torch.Tensor:
    """The logits with minus infinity for tokens that the row's schema forbids, which is less than a ban."""
    allowed = [(row, c.matcher.allowed()) for row, c in enumerate(sequences) if c.matcher is not None]
    if not allowed:
        return logits_NV
    rows = torch.tensor([row for row, _ in allowed], device=logits_NV.device)
    allowed_NV = torch.from_numpy(np.stack([allowed_V for _, allowed_V in allowed])).to(logits_NV.device)
    logits_NV = logits_NV.clone()
    logits_NV[rows] = logits_NV[rows].masked_fill(~allowed_NV, -torch.inf)
    return logits_NV


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


def _without_banned(logits_NV: torch.Tensor, sequences: Sequence[SequenceState]) -> torch.Tensor:
    banned = [c.banned_now for c in sequences]
    counts = [len(ids) for ids in banned]
    if not any(counts):
        return logits_NV
    rows = np.repeat(np.arange(len(counts)), counts)
    cells = torch.from_numpy(np.stack([rows, np.concatenate(banned)])).to(logits_NV.device)
    scores_NV = logits_NV.clone()
    scores_NV[cells[0], cells[1]] = scores_NV[cells[0], cells[1]].clamp_max(BANNED_LOGIT)
    return scores_NV


def _draw(
    scores_NV: torch.Tensor, temperatures_N: np.ndarray, top_ps_N: np.ndarray, uniforms_N: np.ndarray
) -> torch.Tensor:
    is_greedy_N = temperatures_N == 0
    if is_greedy_N.all():
        return scores_NV.argmax(-1)
    device = scores_NV.device
    numbers = np.stack([np.where(is_greedy_N, 1.0, temperatures_N), top_ps_N, uniforms_N])
    divisors_N, nuclei_N, points_N = torch.from_numpy(numbers).to(device)
    weights_NV = torch.softmax(scores_NV / divisors_N[:, None].float(), -1)
    if (top_ps_N < 1).any():
        rows = torch.from_numpy(np.flatnonzero(top_ps_N < 1)).to(device)
        weights_NV[rows] = _nucleus(weights_NV[rows], nuclei_N[rows])
    # In float64: the rounding errors of 100,000 terms in float32 would be as large as the small terms.
    sums_NV = weights_NV.cumsum(-1, dtype=torch.float64)
    targets_N1 = (points_N * sums_NV[:, -1])[:, None]
    drawn_N = torch.searchsorted(sums_NV, targets_N1, right=True)[:, 0]
    if is_greedy_N.any():
        drawn_N = torch.where(torch.from_numpy(is_greedy_N).to(device), scores_NV.argmax(-1), drawn_N)
    return drawn_N.clamp_max(scores_NV.shape[1] - 1)  # out of range only if a row has NaN


def _nucleus(weights_NV: torch.Tensor, top_ps_N: torch.Tensor) -> torch.Tensor:
    """Keep the fewest likeliest tokens whose probabilities sum to at least `top_p`."""
    sorted_NV, order_NV = weights_NV.sort(stable=True, dim=-1, descending=True)
    before_NV = sorted_NV.cumsum(-1, dtype=torch.float64) - sorted_NV
    kept_NV = sorted_NV * (before_NV < top_ps_N[:, None])
    kept_NV[:, 0] = sorted_NV[:, 0]
    return torch.zeros_like(weights_NV).scatter_(-1, order_NV, kept_NV)
