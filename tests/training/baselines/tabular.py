"""A policy small enough to know its gradient exactly, and batches sampled from it.

Thinking is two tokens, 0 or 1, one for each of two budgets. The policy has three parameters, the logits of
the token 1: of the first token, and of the second after a 0 and after a 1. The chance of a right answer
depends on the kind of the prompt and on the tokens until its budget; success persists in part, so that V1
predicts something of the return.

Dimensions: N batches, P prompts, G rollouts per prompt, B budgets (2), A answers per budget, W parameters
(3), K kinds of prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

LOGITS_W = torch.tensor([0.3, -0.4, 0.8], dtype=torch.float64)
PRIOR_B = torch.tensor([0.4, 0.6], dtype=torch.float64)

FIRST_K2 = torch.tensor([[0.2, 0.5], [0.5, 0.9]], dtype=torch.float64)
"""Chance of a right answer at the first budget, by kind of the prompt and first token."""
SECOND_K22 = torch.tensor([[[0.1, 0.5], [0.3, 0.8]], [[0.4, 0.7], [0.95, 0.6]]], dtype=torch.float64)
"""At the second budget, by kind, first and second token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Sampled steps."""

    rewards_NPGBA: torch.Tensor
    scores_NPGBW: torch.Tensor
    """∇ log π of the token of each segment."""


def sample(*, batches: int, prompts: int, group: int, answers: int, seed: int) -> Batches:
    """Steps whose prompts are of random kinds."""
    random = torch.Generator().manual_seed(seed)

    def bernoulli(chance: torch.Tensor) -> torch.Tensor:
        return (torch.rand(chance.shape, generator=random, dtype=torch.float64) < chance).long()

    shape = (batches, prompts, group)
    kind_NPG = torch.randint(0, 2, (batches, prompts, 1), generator=random).expand(shape)
    chance_W = LOGITS_W.sigmoid()
    first_NPG = bernoulli(chance_W[0].expand(shape))
    second_NPG = bernoulli(chance_W[1 + first_NPG])
    chances_NPGB = torch.stack(
        [FIRST_K2[kind_NPG, first_NPG], SECOND_K22[kind_NPG, first_NPG, second_NPG]], -1
    )
    rewards_NPGBA = bernoulli(chances_NPGB.unsqueeze(-1).expand(*chances_NPGB.shape, answers)).double()
    scores_NPGBW = torch.zeros(*shape, 2, 3, dtype=torch.float64)
    scores_NPGBW[..., 0, 0] = first_NPG - chance_W[0]
    for token in range(2):
        follows_NPG = first_NPG == token
        scores_NPGBW[..., 1, 1 + token] = follows_NPG * (second_NPG - chance_W[1 + token])
    return Batches(rewards_NPGBA=rewards_NPGBA, scores_NPGBW=scores_NPGBW)


def exact_gradient() -> torch.Tensor:
    """∇ E[Σ_j P_j r_j] over kinds and tokens: gradient_W."""
    logits_W = LOGITS_W.clone().requires_grad_()
    chance_W = logits_W.sigmoid()
    first_2 = torch.stack([1 - chance_W[0], chance_W[0]])
    second_22 = torch.stack([1 - chance_W[1:], chance_W[1:]], dim=-1)
    right_at_first = (first_2 * FIRST_K2.mean(0)).sum()
    right_at_second = (first_2[:, None] * second_22 * SECOND_K22.mean(0)).sum()
    objective = PRIOR_B[0] * right_at_first + PRIOR_B[1] * right_at_second
    [gradient_W] = torch.autograd.grad(objective, logits_W)
    return gradient_W


def deviation(
    advantages_of: Callable[[torch.Tensor], torch.Tensor],
    *,
    batches: int = 1200,
    prompts: int = 6,
    group: int = 2,
    answers: int = 2,
    seed: int = 0,
) -> torch.Tensor:
    """(mean gradient of an estimator - exact gradient) in standard errors: deviation_W.

    Args:
        advantages_of: from one step's rewards_PGBA to advantages_PGB.
    """
    drawn = sample(batches=batches, prompts=prompts, group=group, answers=answers, seed=seed)
    advantages_NPGB = torch.stack([advantages_of(rewards_PGBA) for rewards_PGBA in drawn.rewards_NPGBA])
    gradients_NW = (advantages_NPGB.unsqueeze(-1) * drawn.scores_NPGBW).sum(3).mean((1, 2))
    standard_error_W = gradients_NW.std(0) / batches**0.5
    return (gradients_NW.mean(0) - exact_gradient()) / standard_error_W
