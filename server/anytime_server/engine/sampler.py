"""Drawing the next token of many continuations at once, on the device that has their logits.

A draw depends on the seed and on the position of the token alone, so neither the other rows nor
what was drawn before decide it: one uniform number for each row, turned into a token by the
inverse of its distribution function.

Dimensions: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from anytime_server.engine.continuation import Continuation

BANNED_LOGIT = -1e9
"""Finite, so that a row that bans everything still has a distribution."""


def uniforms(seeds_N: Sequence[int], positions_N: Sequence[int]) -> np.ndarray:
    """Numbers in [0, 1), float64 (N,): the stream of SplitMix64 that the seed begins, at the position."""
    starts_N = _mixed(np.array(seeds_N, np.uint64))
    steps_N = np.array(positions_N, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mixed(starts_N + steps_N) >> np.uint64(12)).astype(np.float64) / 2**52


def _mixed(words: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser; the products wrap around."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def sample(logits_NV: torch.Tensor, continuations: Sequence[Continuation]) -> tuple[list[int], list[float]]:
    """Draw one token for each row.

    Returns:
        The tokens, and their log-probabilities under `logits_NV` as they are: before
        temperature, nucleus and bans.
    """
    samplings = [c.request.sampling for c in continuations]
    temperatures_N = np.array([s.temperature for s in samplings])
    top_ps_N = np.array([s.top_p for s in samplings])
    uniforms_N = uniforms([c.seed for c in continuations], [c.position for c in continuations])

    logits_NV = logits_NV.float()
    logprobs_NV = torch.log_softmax(logits_NV, -1)
    scores_NV = _without_banned(logits_NV, continuations)
    drawn_N = _draw(scores_NV, temperatures_N, top_ps_N, uniforms_N)
    chosen_N = logprobs_NV.gather(1, drawn_N[:, None])[:, 0]
    ids_N, logprobs_N = torch.stack([drawn_N.double(), chosen_N.double()]).cpu()  # one transfer
    return ids_N.long().tolist(), logprobs_N.tolist()


def _without_banned(logits_NV: torch.Tensor, continuations: Sequence[Continuation]) -> torch.Tensor:
    banned = [c.banned_now for c in continuations]
    counts = [len(ids) for ids in banned]
    if not any(counts):
        return logits_NV
    rows = np.repeat(np.arange(len(counts)), counts)
    cells = torch.from_numpy(np.stack([rows, np.concatenate(banned)])).to(logits_NV.device)
    scores_NV = logits_NV.clone()
    scores_NV[cells[0], cells[1]] = BANNED_LOGIT
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
    # Summed in float64: the errors of 100,000 terms in float32 would be as large as the small terms.
    sums_NV = weights_NV.cumsum(-1, dtype=torch.float64)
    targets_N1 = (points_N * sums_NV[:, -1])[:, None]
    drawn_N = torch.searchsorted(sums_NV, targets_N1, right=True)[:, 0]
    if is_greedy_N.any():
        drawn_N = torch.where(torch.from_numpy(is_greedy_N).to(device), scores_NV.argmax(-1), drawn_N)
    return drawn_N.clamp_max(scores_NV.shape[1] - 1)  # reached only by a row that is no distribution


def _nucleus(weights_NV: torch.Tensor, top_ps_N: torch.Tensor) -> torch.Tensor:
    """Keep the likeliest tokens that together reach `top_p`, the one that reaches it included."""
    sorted_NV, order_NV = weights_NV.sort(stable=True, dim=-1, descending=True)
    before_NV = sorted_NV.cumsum(-1, dtype=torch.float64) - sorted_NV
    kept_NV = sorted_NV * (before_NV < top_ps_N[:, None])
    kept_NV[:, 0] = sorted_NV[:, 0]
    return torch.zeros_like(weights_NV).scatter_(-1, order_NV, kept_NV)
