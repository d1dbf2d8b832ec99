"""Likelihood rewards: the probability of a right answer, in place of the mean reward of sampled answers.

Owns the enumeration of right answers as token ids, the trees that score them, and the rewards that follow.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from anytime_server.reasoning import ReasoningFormat
from anytime_server.text.tokenizer import ModelTokenizer

from anytime_training.errors import RecipeError
from anytime_training.reward import answer_counts, fill_missing, has_ended_turn
from anytime_training.rollout import Rollout
from anytime_training.tasks import ListingTask, Problem, Task
from anytime_training.tree import Branch, Segment, Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """A right answer, and what the policy gives it after one truncation."""

    token_ids: tuple[int, ...]
    """The answer, with the end of the turn."""
    logprobs: tuple[float, ...]
    """Log-probability of each token."""

    @property
    def probability(self) -> float:
        """π(answer | prompt, truncated thinking)."""
        return math.exp(sum(self.logprobs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihoods:
    """Right answers of a step's problems, scored after every truncation."""

    scored_PGB: list[list[list[list[ScoredAnswer]]]]
    """The enumerated answers; none where thinking ended the turn. Budgets with the same truncation share
    them."""
    rest_PGBA: torch.Tensor
    """The rewards of the sampled answers, but 0 for those that are among the enumerated."""
    rewards_PGB: torch.Tensor
    """r̂_j = Σ_s π(s | x, z≤b_j) + mean of `rest_PGBA` over the answers, float64."""


class Scorer(Protocol):
    """A network that scores the learned tokens of trees."""

    def logprobs(self, trees: Sequence[Tree]) -> torch.Tensor:
        """Log-probabilities of the learned tokens, in the order of `tree.numbered`."""
        ...


def require_accepted_answers(task: Task[Any], problem: Problem, *, key: str) -> None:
    """Check that a task can list right answers of a problem.

    Raises:
        RecipeError: it cannot, naming the key of the recipe that needs them.
    """
    if not isinstance(task, ListingTask):
        kind = getattr(task, "kind", type(task).__name__)
        raise RecipeError(f"{key}: the task {kind} cannot list the right answers of a problem")
    try:
        task.accepted_answers(problem)
    except RecipeError as error:
        raise RecipeError(f"{key}: {error}") from error


def accepted_ids(
    task: ListingTask,
    problem: Problem,
    *,
    tokenizer: ModelTokenizer,
    reasoning: ReasoningFormat,
    max_tokens: int,
) -> list[tuple[int, ...]]:
    """Right answers of a problem as token ids, each with an end of the turn; no two are the same.

    An answer is left out if it is longer than `max_tokens` with the end of the turn, as it could not be
    sampled; if it has a think-end or an end of the turn in it; or if the task refuses its tokens' text.
    """
    found: dict[tuple[int, ...], None] = {}
    forbidden = reasoning.eos_ids | {reasoning.think_end_id}
    for text in task.accepted_answers(problem):
        ids = tokenizer.encode(text)
        can_be_sampled = len(ids) < max_tokens and not forbidden.intersection(ids)
        if can_be_sampled and task.grade(problem, tokenizer.decode(ids)):
            for eos_id in sorted(reasoning.eos_ids):
                found[(*ids, eos_id)] = None
    return list(found)


def likelihoods(
    rollouts_PG: Sequence[Sequence[Rollout]],
    accepted_P: Sequence[Sequence[tuple[int, ...]]],
    rewards_PGBA: torch.Tensor,
    *,
    scorer: Scorer,
) -> Likelihoods:
    """Rewards by the probability of right answers (Rao-Blackwellisation of the sampled rewards; our own).

        r̂_j = Σ_{s∈S} π(s | x, z≤b_j) + 1/A Σ_a r_a · 1[a ∉ S]

    S are the enumerated right answers with their end of the turn, as token ids: distinct outcomes of one
    sampling. The second term is an unbiased estimate of the probability of right answers that are not among
    them: others of free form, and other tokens of the same text. So r̂_j has the expectation of the mean
    reward, and less variance; where S is complete, none given the thinking. Where thinking ended the turn, it
    is 0.

    Example: π(s) is 0.6 for the one enumerated answer; of two sampled answers one is s, and one is right in
    another form: r̂ = 0.6 + (0 + 1)/2 = 1.1. A single estimate may be above 1.

    Args:
        accepted_P: `accepted_ids` of each problem.
        rewards_PGBA: rewards of the sampled answers.
        scorer: the policy that the answers were sampled from.
    """
    trees = [
        _scoring_tree(rollout, accepted)
        for rollouts_G, accepted in zip(rollouts_PG, accepted_P, strict=True)
        for rollout in rollouts_G
    ]
    scored = [tree for tree in trees if tree.branches]
    logprobs = iter(scorer.logprobs(scored).tolist() if scored else [])
    rest_PGBA = rewards_PGBA.double().clone()
    scored_PGB: list[list[list[list[ScoredAnswer]]]] = []
    for p, (rollouts_G, accepted) in enumerate(zip(rollouts_PG, accepted_P, strict=True)):
        known = set(accepted)
        scored_PGB.append([])
        for g, rollout in enumerate(rollouts_G):
            scored_PGB[-1].append(_scored(rollout, accepted, logprobs))
            for b, answers_A in enumerate(rollout.answers):
                for a, answer in enumerate(answers_A):
                    if tuple(answer.token_ids) in known:
                        rest_PGBA[p, g, b, a] = 0
    enumerated_PGB = torch.tensor(
        [
            [[sum(one.probability for one in answers) for answers in scored_B] for scored_B in scored_GB]
            for scored_GB in scored_PGB
        ],
        dtype=torch.float64,
    )
    rest_PGBA = fill_missing(rest_PGBA, answer_counts(rollouts_PG))
    return Likelihoods(
        scored_PGB=scored_PGB, rest_PGBA=rest_PGBA, rewards_PGB=enumerated_PGB + rest_PGBA.mean(dim=-1)
    )


def _scoring_tree(rollout: Rollout, accepted: Sequence[tuple[int, ...]]) -> Tree:
    """The rollout's thinking, with every right answer after each distinct truncation."""
    trunk_ids = [*rollout.prompt_ids, *rollout.thinking.token_ids]
    branches: list[Branch] = []
    for truncation in _distinct(rollout):
        for ids in accepted:
            segment = Segment.after(truncation.inserted_ids, ids, advantages=[0.0] * len(ids))
            num_visible = len(rollout.prompt_ids) + len(truncation.thinking_ids)
            branches.append(Branch(segment=segment, num_visible=num_visible))
    return Tree(trunk=Segment.after(trunk_ids, [], advantages=[]), branches=tuple(branches))


def _scored(rollout: Rollout, accepted: Sequence[tuple[int, ...]], logprobs: Any) -> list[list[ScoredAnswer]]:
    """The answers of each budget, with the next log-probabilities."""
    of_length = {
        truncation.num_thinking_tokens: [
            ScoredAnswer(token_ids=ids, logprobs=tuple(next(logprobs) for _ in ids)) for ids in accepted
        ]
        for truncation in _distinct(rollout)
    }
    return [of_length.get(truncation.num_thinking_tokens, []) for truncation in rollout.truncations]


def _distinct(rollout: Rollout) -> list[Any]:
    """The truncations after which an answer can be right, without repeats."""
    return list(
        {one.num_thinking_tokens: one for one in rollout.truncations if not has_ended_turn(one)}.values()
    )
