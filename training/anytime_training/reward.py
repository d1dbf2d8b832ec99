"""Rewards of rollouts: 1 for a right answer after well-formed thinking, else 0.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from anytime_server.engine import Generation
from anytime_server.reasoning import ReasoningFormat, Truncation
from anytime_server.text.tokenizer import ModelTokenizer

from anytime_training.rollout import Rollout
from anytime_training.tasks import Problem, Task, grade_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """The reward of each answer.

    Where budgets have different numbers of answers, A is the largest of them, and the elements of missing
    answers are the mean of those of their budget: means over the answers need no mask.
    """

    rewards_PGBA: torch.Tensor
    """1.0 for right and well-formed answers, else 0.0."""
    formatted_PGBA: torch.Tensor
    """1.0 where thinking and answer are well-formed, else 0.0."""
    texts: list[str]
    """The graded texts, in the order of the tensors' elements."""


def grade_rollouts(
    rollouts_PG: Sequence[Sequence[Rollout]],
    problems_P: Sequence[Problem],
    *,
    task: Task[Problem],
    tokenizer: ModelTokenizer,
    reasoning: ReasoningFormat,
    num_threads: int = 1,
) -> Grades:
    """Grade every answer.

    Args:
        num_threads: answers that are graded at the same time.
    """
    answers = [
        (problem, truncation, answer)
        for problem, rollouts_G in zip(problems_P, rollouts_PG, strict=True)
        for rollout in rollouts_G
        for truncation, answers_A in zip(rollout.truncations, rollout.answers, strict=True)
        for answer in answers_A
    ]
    texts = [
        tokenizer.decode([i for i in answer.token_ids if i not in reasoning.eos_ids])
        for _, _, answer in answers
    ]
    rights = grade_all(
        task,
        [(problem, text) for (problem, _, _), text in zip(answers, texts, strict=True)],
        num_threads=num_threads,
    )
    formatted = [is_well_formed(truncation, answer, reasoning) for _, truncation, answer in answers]
    rewards = [float(right and good) for right, good in zip(rights, formatted, strict=True)]
    counts_B = answer_counts(rollouts_PG)

    def by_answer(values: Sequence[float]) -> torch.Tensor:
        padded_PGBA = torch.zeros(len(rollouts_PG), len(rollouts_PG[0]), len(counts_B), max(counts_B))
        padded_PGBA[..., answer_mask(counts_B)] = torch.tensor(values, dtype=torch.float32).reshape(
            len(rollouts_PG), len(rollouts_PG[0]), sum(counts_B)
        )
        return fill_missing(padded_PGBA, counts_B)

    return Grades(
        rewards_PGBA=by_answer(rewards),
        formatted_PGBA=by_answer([float(good) for good in formatted]),
        texts=texts,
    )


def answer_counts(rollouts_PG: Sequence[Sequence[Rollout]]) -> list[int]:
    """Answers at each of the B budgets, the same for all rollouts."""
    return [len(answers_A) for answers_A in rollouts_PG[0][0].answers]


def answer_mask(counts_B: Sequence[int]) -> torch.Tensor:
    """Whether each element is that of an answer: mask_BA. A is the largest count."""
    return torch.arange(max(counts_B)) < torch.tensor(counts_B).unsqueeze(-1)


def fill_missing(values_PGBA: torch.Tensor, counts_B: Sequence[int]) -> torch.Tensor:
    """The same, with the mean of each budget in the elements of missing answers."""
    mask_BA = answer_mask(counts_B)
    if mask_BA.all():
        return values_PGBA
    total_PGB1 = torch.where(mask_BA, values_PGBA, 0).sum(dim=-1, keepdim=True)
    return torch.where(mask_BA, values_PGBA, total_PGB1 / torch.tensor(counts_B).unsqueeze(-1))


def is_well_formed(truncation: Truncation, answer: Generation, reasoning: ReasoningFormat) -> bool:
    """Whether thinking ends exactly once: not with the end of the turn, nor again in the answer."""
    return not has_ended_turn(truncation) and reasoning.think_end_id not in answer.token_ids


def has_ended_turn(truncation: Truncation) -> bool:
    """Whether the thinking ended with the end of the turn: no answer after it is right."""
    return truncation.num_thinking_tokens > len(truncation.thinking_ids)
