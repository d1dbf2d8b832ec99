"""Credit: from graded rollouts to trees of tokens that say what each was worth.

The one place where the algorithm's choices (`CreditConfig`) meet rollouts. The learner sees
only what comes out of it.

Dimensions: P prompts, G thinkings per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from anytime_server.reasoning import Truncation

from anytime_training.advantage import budget_prior, segments, summary_advantages, thinking_advantages
from anytime_training.config.brpo import CreditConfig
from anytime_training.rollout import Rollout
from anytime_training.tree import Branch, Segment, Tree


def cuts_of(rollouts_PG: Sequence[Sequence[Rollout]]) -> torch.Tensor:
    """cuts_PGB: thinking tokens before each cut."""
    return torch.tensor(
        [[[cut.num_thinking_tokens for cut in rollout.cuts] for rollout in group] for group in rollouts_PG]
    )


def credit_trees(
    rollouts_PG: Sequence[Sequence[Rollout]],
    rewards_PGBA: torch.Tensor,
    budgets: Sequence[int],
    config: CreditConfig,
    *,
    keep_all: bool = False,
) -> list[list[Tree]]:
    """Trees of each prompt's rollouts, their tokens with advantages.

    What has an advantage of 0 has no gradient: such answers, and rollouts of nothing else, are
    left out, unless `keep_all` (for a divergence, which pulls on them, too).
    """
    prior_B = budget_prior(config.prior, budgets)
    rewards_PGBA = rewards_PGBA.double()
    thinking_PGB = thinking_advantages(
        rewards_PGBA,
        prior_B,
        baseline=config.baseline,
        decay=config.decay,
        leave_one_out=config.leave_one_out,
    )
    summary_PGBA = summary_advantages(
        rewards_PGBA,
        cuts_of(rollouts_PG),
        preset=config.summary,
        weight=config.summary_weight,
        leave_one_out=config.leave_one_out,
    )
    trees: list[list[Tree]] = []
    for rollouts_G, thinking_GB, summary_GBA in zip(rollouts_PG, thinking_PGB, summary_PGBA, strict=True):
        grown = (
            _grow(rollout, thinking_B, summary_BA.tolist(), budgets, keep_all=keep_all)
            for rollout, thinking_B, summary_BA in zip(rollouts_G, thinking_GB, summary_GBA, strict=True)
        )
        trees.append([tree for tree in grown if keep_all or tree.branches or any(tree.trunk.advantages)])
    return trees


def _grow(
    rollout: Rollout,
    thinking_B: torch.Tensor,
    summary_BA: list[list[float]],
    budgets: Sequence[int],
    *,
    keep_all: bool,
) -> Tree:
    thinking = rollout.thinking
    segments_T = segments(len(thinking.token_ids), budgets)
    branches = [
        _branch(len(rollout.prompt_ids), cut, answer.token_ids, answer.logprobs, advantage)
        for cut, answers_A, summary_A in zip(rollout.cuts, rollout.answers, summary_BA, strict=True)
        for answer, advantage in zip(answers_A, summary_A, strict=True)
        if keep_all or advantage
    ]
    trunk = _segment(
        rollout.prompt_ids, thinking.token_ids, thinking.logprobs, thinking_B[segments_T].tolist()
    )
    return Tree(trunk=trunk, branches=tuple(branches))


def _branch(
    prompt_tokens: int, cut: Truncation, ids: Sequence[int], logprobs: Sequence[float], advantage: float
) -> Branch:
    segment = _segment(cut.inserted_ids, ids, logprobs, [advantage] * len(ids))
    return Branch(segment=segment, num_visible=prompt_tokens + len(cut.thinking_ids))


def _segment(
    given_ids: Sequence[int], sampled_ids: Sequence[int], logprobs: Sequence[float], advantages: list[float]
) -> Segment:
    """Tokens that were given, then those that were sampled and are learned."""
    return Segment(
        ids=[*given_ids, *sampled_ids],
        learned=[False] * len(given_ids) + [True] * len(sampled_ids),
        advantages=[0.0] * len(given_ids) + advantages,
        sampler_logprobs=[0.0] * len(given_ids) + list(logprobs),
    )
