"""Credit assignment: from graded rollouts to trees whose tokens carry advantages.

The only module that knows both rollouts and the settings of the algorithm (`CreditConfig`). The learner sees
the trees alone.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from anytime_server.reasoning import Truncation

from anytime_training.advantage import summary_advantages, thinking_advantages
from anytime_training.config.credit import CreditConfig
from anytime_training.likelihood import Likelihoods, ScoredAnswer
from anytime_training.prior import budget_prior, segments
from anytime_training.reward import answer_counts
from anytime_training.rollout import Rollout
from anytime_training.tree import Branch, Segment, Tree


def truncation_lengths(rollouts_PG: Sequence[Sequence[Rollout]]) -> torch.Tensor:
    """lengths_PGB: thinking tokens of each truncation."""
    return torch.tensor(
        [
            [[truncation.num_thinking_tokens for truncation in rollout.truncations] for rollout in rollouts_G]
            for rollouts_G in rollouts_PG
        ]
    )


def credit_trees(
    rollouts_PG: Sequence[Sequence[Rollout]],
    rewards_PGBA: torch.Tensor,
    budgets: Sequence[int],
    config: CreditConfig,
    *,
    likelihoods: Likelihoods | None = None,
    values_PGB: torch.Tensor | None = None,
    keep_all: bool = False,
) -> list[list[Tree]]:
    """Trees of each prompt's rollouts, with an advantage for every sampled token.

    Tokens with advantage 0 have no gradient: answers of such tokens, and rollouts with nothing else, are left
    out.

    Args:
        likelihoods: of right answers, where the settings need them.
        values_PGB: predictions of the value head, for the baselines that need them.
        keep_all: leave nothing out; needed for a KL penalty, whose gradient does not depend on advantages.
    """
    prior_B = budget_prior(config.prior, budgets)
    rewards_PGBA = rewards_PGBA.double()
    lengths_PGB, counts_B = truncation_lengths(rollouts_PG), answer_counts(rollouts_PG)
    assert likelihoods is not None or not config.needs_likelihoods
    thinking_PGB = thinking_advantages(
        thinking_rewards(rewards_PGBA, config, likelihoods),
        prior_B,
        baseline=config.baseline,
        decay=config.decay,
        leave_one_out=config.leave_one_out,
        lengths_PGB=lengths_PGB,
        values_PGB=values_PGB,
    )
    exact_PG: list[list[list[Branch]]] = [[[] for _ in rollouts_G] for rollouts_G in rollouts_PG]
    if likelihoods is not None and config.summary == "exact":
        summary_PGBA = config.summary_weight * likelihoods.rest_PGBA
        exact_PG = [
            [
                exact_branches(rollout, scored_B, weight=config.summary_weight)
                for rollout, scored_B in zip(rollouts_G, scored_GB, strict=True)
            ]
            for rollouts_G, scored_GB in zip(rollouts_PG, likelihoods.scored_PGB, strict=True)
        ]
    else:
        assert config.summary != "exact"
        summary_PGBA = summary_advantages(
            rewards_PGBA,
            lengths_PGB,
            preset=config.summary,
            weight=config.summary_weight,
            leave_one_out=config.leave_one_out,
            counts_B=counts_B,
        )
    summaries_PGB = [
        [
            [of_budget[:count] for of_budget, count in zip(of_rollout, counts_B, strict=True)]
            for of_rollout in of_prompt
        ]
        for of_prompt in summary_PGBA.tolist()
    ]
    trees_PG: list[list[Tree]] = []
    for rollouts_G, thinking_GB, summaries_GB, exact_G in zip(
        rollouts_PG, thinking_PGB, summaries_PGB, exact_PG, strict=True
    ):
        trees_G = (
            _tree(rollout, thinking_B, summaries_B, exact, budgets, keep_all=keep_all)
            for rollout, thinking_B, summaries_B, exact in zip(
                rollouts_G, thinking_GB, summaries_GB, exact_G, strict=True
            )
        )
        trees_PG.append([tree for tree in trees_G if keep_all or tree.branches or any(tree.trunk.advantages)])
    return trees_PG


def thinking_rewards(
    rewards_PGBA: torch.Tensor, config: CreditConfig, likelihoods: Likelihoods | None
) -> torch.Tensor:
    """The rewards that the thinking's returns are made of: rewards_PGBA, with A = 1 for likelihoods."""
    if config.reward == "sampled":
        return rewards_PGBA
    assert likelihoods is not None
    return likelihoods.rewards_PGB.unsqueeze(-1)


def exact_branches(
    rollout: Rollout, scored_B: Sequence[Sequence[ScoredAnswer]], *, weight: float = 1.0
) -> list[Branch]:
    """Right answers after each truncation, with the exact gradient of their likelihood (our own).

        n ∇ Σ_s π(s) = Σ_s n π(s) ∇ log π(s)

    So every token of answer s has the advantage n π(s), without a baseline. n is the number of answers
    sampled after that truncation, over all budgets that share it: the gradient is the expectation of that of
    n sampled answers with their rewards. The gradient of right answers that are not enumerated is estimated
    by the sampled ones (`Likelihoods.rest_PGBA`).
    """
    num_answers: dict[int, int] = {}
    for truncation, answers_A in zip(rollout.truncations, rollout.answers, strict=True):
        length = truncation.num_thinking_tokens
        num_answers[length] = num_answers.get(length, 0) + len(answers_A)
    branches: list[Branch] = []
    for truncation, scored in zip(rollout.truncations, scored_B, strict=True):
        count = num_answers.pop(truncation.num_thinking_tokens, 0)
        branches += [
            _branch(
                len(rollout.prompt_ids),
                truncation,
                answer.token_ids,
                answer.logprobs,
                weight * count * answer.probability,
            )
            for answer in scored
            if count
        ]
    return branches


def _tree(
    rollout: Rollout,
    thinking_B: torch.Tensor,
    summary_BA: list[list[float]],
    exact: list[Branch],
    budgets: Sequence[int],
    *,
    keep_all: bool,
) -> Tree:
    thinking = rollout.thinking
    segments_T = segments(len(thinking.token_ids), budgets)
    branches = [
        _branch(len(rollout.prompt_ids), truncation, answer.token_ids, answer.logprobs, advantage)
        for truncation, answers_A, summary_A in zip(
            rollout.truncations, rollout.answers, summary_BA, strict=True
        )
        for answer, advantage in zip(answers_A, summary_A, strict=True)
        if keep_all or advantage
    ]
    trunk = Segment.after(
        rollout.prompt_ids,
        thinking.token_ids,
        advantages=thinking_B[segments_T].tolist(),
        logprobs=thinking.logprobs,
    )
    return Tree(trunk=trunk, branches=(*branches, *exact))


def _branch(
    prompt_tokens: int,
    truncation: Truncation,
    ids: Sequence[int],
    logprobs: Sequence[float],
    advantage: float,
) -> Branch:
    segment = Segment.after(
        truncation.inserted_ids, ids, advantages=[advantage] * len(ids), logprobs=logprobs
    )
    return Branch(segment=segment, num_visible=prompt_tokens + len(truncation.thinking_ids))
