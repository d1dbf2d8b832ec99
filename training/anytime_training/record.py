"""A step's rollouts, as `metrics.jsonl` and `rollouts.jsonl` record them.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from anytime_server.text.tokenizer import ModelTokenizer

from anytime_training.reward import Grades
from anytime_training.rollout import Rollout
from anytime_training.tasks import Problem
from anytime_training.variance import normalised_variance


def step_metrics(
    rollouts_PG: Sequence[Sequence[Rollout]],
    grades: Grades,
    lengths_PGB: torch.Tensor,
    budgets: Sequence[int],
    *,
    prior_B: torch.Tensor,
    decay: float,
) -> dict[str, Any]:
    """Rewards, lengths, and the share of the returns' variance that each baseline leaves."""
    rollouts = [rollout for group in rollouts_PG for rollout in group]
    answers = [answer for rollout in rollouts for answers_A in rollout.answers for answer in answers_A]
    variance = normalised_variance(grades.rewards_PGBA, lengths_PGB, budgets, prior_B, decay=decay)
    thinking_tokens = [len(rollout.thinking.token_ids) for rollout in rollouts]
    return {
        "reward": grades.rewards_PGBA.mean().item(),
        "reward_at": dict(zip(map(str, budgets), grades.rewards_PGBA.mean((0, 1, 3)).tolist(), strict=True)),
        "formatted": grades.formatted_PGBA.mean().item(),
        "thinking_tokens": sum(thinking_tokens) / len(rollouts),
        "thinking_finished": sum(rollout.thinking.finish_reason == "stop" for rollout in rollouts)
        / len(rollouts),
        "answer_tokens": sum(len(answer.token_ids) for answer in answers) / len(answers),
        "variance": {
            name: [None if math.isnan(value) else value for value in values_B.tolist()]
            for name, values_B in variance.items()
        },
    }


def rollout_lines(
    problems: Sequence[Problem],
    rollouts_PG: Sequence[Sequence[Rollout]],
    grades: Grades,
    *,
    tokenizer: ModelTokenizer,
) -> Iterator[dict[str, Any]]:
    """One line for each rollout of the first prompts, for people to read."""
    texts = iter(grades.texts)
    for problem, rollouts_G, rewards_GBA in zip(
        problems, rollouts_PG[: len(problems)], grades.rewards_PGBA[: len(problems)], strict=True
    ):
        for rollout, rewards_BA in zip(rollouts_G, rewards_GBA, strict=True):
            yield {
                "prompt": problem.prompt,
                "answer": problem.answer,
                "thinking": tokenizer.decode(rollout.thinking.token_ids),
                "thinking_tokens": len(rollout.thinking.token_ids),
                "truncated_at": [truncation.num_thinking_tokens for truncation in rollout.truncations],
                "answers": [[next(texts) for _ in answers_A] for answers_A in rollout.answers],
                "rewards": rewards_BA.tolist(),
            }
