"""Drawing the next token of many continuations at once, on the device that has their logits.

A draw depends on the seed and on the position of the token alone, so neither the other rows nor
what was drawn before decide it: one uniform number for each row, turned into a token by the
inverse of its distribution function.

Dimensions: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from anytime_server.engine.base import LEAST_LOGPROB, TopLogprobs
from anytime_server.engine.transformers.sequence import Continuation

BANNED_LOGIT = -1e9
"""Finite, so that a row that bans all it may have still has a distribution."""


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


class Drawn(NamedTuple):
    """One token for each row."""

    token_ids: list[int]
    logprobs: list[float]
    """Under the logits as they are: before temperature, nucleus and bans."""
    top_logprobs: list[TopLogprobs]
    """Of the same; empty for a row that asks for none."""


def sample(logits_NV: torch.Tensor, continuations: Sequence[Continuation]) -> Drawn:
    """Draw one token for each row."""
    samplings = [c.request.sampling for c in continuations]
    temperatures_N = np.array([s.temperature for s in samplings])
    top_ps_N = np.array([s.top_p for s in samplings])
    uniforms_N = uniforms([c.seed for c in continuations], [c.position for c in continuations])

    logits_NV = _held_to_schemas(logits_NV.float(), continuations)
    logprobs_NV = torch.log_softmax(logits_NV, -1)
    scores_NV = _without_banned(logits_NV, continuations)
    drawn_N = _draw(scores_NV, temperatures_N, top_ps_N, uniforms_N)
    chosen_N = logprobs_NV.gather(1, drawn_N[:, None])[:, 0]
    ids_N, logprobs_N = torch.stack([drawn_N.double(), chosen_N.double()]).cpu()  # one transfer
    num_top = [s.top_logprobs for s in samplings]
    return Drawn(ids_N.long().tolist(), logprobs_N.tolist(), _likeliest(logprobs_NV, num_top))


def _held_to_schemas(logits_NV: torch.Tensor, continuations: Sequence[Continuation]) -> torch.Tensor:
    """Minus infinity for what the schema of its row does not allow: less than for what is banned."""
    held = [(row, c.matcher.allowed()) for row, c in enumerate(continuations) if c.matcher is not None]
    if not held:
        return logits_NV
    rows = torch.tensor([row for row, _ in held], device=logits_NV.device)
    allowed_NV = torch.from_numpy(np.stack([allowed_V for _, allowed_V in held])).to(logits_NV.device)
    logits_NV = logits_NV.clone()
    logits_NV[rows] = logits_NV[rows].masked_fill(~allowed_NV, -torch.inf)
    return logits_NV


def _likeliest(logprobs_NV: torch.Tensor, num_top: list[int]) -> list[TopLogprobs]:
    """The first so many of each row."""
    asking = [row for row, num in enumerate(num_top) if num]
    top: list[TopLogprobs] = [()] * len(num_top)
    if asking:
        rows = torch.tensor(asking, device=logprobs_NV.device)
        most = min(max(num_top), logprobs_NV.shape[1])
        values_NK, ids_NK = logprobs_NV[rows].topk(most)
        values, ids = values_NK.clamp_min(LEAST_LOGPROB).tolist(), ids_NK.tolist()
        for place, row in enumerate(asking):
            top[row] = tuple(zip(ids[place], values[place], strict=True))[: num_top[row]]
    return top


def _without_banned(logits_NV: torch.Tensor, continuations: Sequence[Continuation]) -> torch.Tensor:
    banned = [c.banned_now for c in continuations]
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
