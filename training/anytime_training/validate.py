"""Accuracy at each budget during training, on held-out problems.

Each problem is thought about once, and the thinking is truncated at every budget: as when serving, the
thinking of a smaller budget is the start of that of a larger budget. Where prompts name the budget, each
budget has its own thinking. Two things differ from serving: a blank answer is not sampled again, and a right
answer counts as wrong where thinking or answer is not well-formed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from anytime_server.engine import Engine
from anytime_server.text.model import Model

from anytime_training.errors import RecipeError
from anytime_training.interval import wilson_interval
from anytime_training.reward import Grades, grade_rollouts
from anytime_training.rollout import Rollout, RolloutSampler, prompt_of
from anytime_training.tasks import Problem, Split, Task, draw_distinct


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Rollouts and grades of one evaluation."""

    budgets: tuple[int, ...]
    rollouts_P: list[Rollout]
    grades: Grades
    """Grades, with G = A = 1."""

    @property
    def right_PB(self) -> torch.Tensor:
        """Whether the answer to each problem is right, at each budget."""
        return self.grades.rewards_PGBA[:, 0, :, 0] > 0

    def summary(self) -> dict[str, Any]:
        """Accuracy, lengths and format, as `evaluations.jsonl` records them."""
        right_PB = self.right_PB
        num_problems = len(right_PB)
        intervals = [wilson_interval(int(num_right), num_problems) for num_right in right_PB.sum(0)]
        accuracy = right_PB.double().mean(0).tolist()
        answers = [answer for rollout in self.rollouts_P for answers in rollout.answers for answer in answers]
        return {
            "budgets": list(self.budgets),
            "accuracy": accuracy,
            "low": [low for low, _ in intervals],
            "high": [high for _, high in intervals],
            "anytime": sum(accuracy) / len(accuracy),
            "final": accuracy[-1],
            "n": num_problems,
            "thinking_tokens": _mean(len(rollout.thinking.token_ids) for rollout in self.rollouts_P),
            "answer_tokens": _mean(len(answer.token_ids) for answer in answers),
            "formatted": self.grades.formatted_PGBA.mean().item(),
        }


def validation_problems(
    task: Task[Problem], count: int, *, seed: int, split: Split = "validation"
) -> list[Problem]:
    """Up to `count` distinct problems, the same for the same seed.

    Raises:
        RecipeError: the split is empty, or the task cannot be used.
        TrainingFailed: a custom task failed.
    """
    return draw_distinct(task, count, random.Random(f"{seed}:{split}"), split)


async def validate(
    problems: Sequence[Problem],
    *,
    task: Task[Problem],
    model: Model,
    engine: Engine,
    budgets: Sequence[int],
    answer_tokens: int,
    seed: int,
    num_threads: int = 1,
    shows_budget: bool = False,
) -> Validation:
    """Sample answers to each problem at each budget, with the server's default temperatures, and grade them.

    Problems whose prompts leave too little room in the window are left out.

    Args:
        shows_budget: the prompts name the budget, so that each budget has its own thinking.

    Raises:
        RecipeError: every problem is left out.
        AnytimeError: the engine failed.
    """
    thinking, answer = model.sampling.thinking, model.sampling.answer
    assert thinking.temperature is not None
    assert thinking.top_p is not None
    assert answer.temperature is not None
    sampler = RolloutSampler(
        engine=engine,
        reasoning=model.reasoning,
        budgets=budgets,
        answer_tokens=answer_tokens,
        thinking_temperature=thinking.temperature,
        thinking_top_p=thinking.top_p,
        answer_temperature=answer.temperature,
    )
    named_budgets = budgets if shows_budget else [None]
    prompted = [
        (problem, [prompt_of(model, problem.prompt, budget_tokens=budget) for budget in named_budgets])
        for problem in problems
    ]
    fitting = [
        (problem, prompts) for problem, prompts in prompted if all(sampler.fits(len(one)) for one in prompts)
    ]
    if not fitting:
        raise RecipeError(
            f"evaluation.budgets: no prompt leaves room in the window of {engine.window_tokens} tokens for "
            f"thinking of {budgets[-1]} and an answer of {answer_tokens}"
        )
    problems, prompts_of = zip(*fitting, strict=True)
    if shows_budget:
        samples = [
            await replace(sampler, budgets=[budget]).sample(prompts, seed=f"{seed}:validation")
            for budget, prompts in zip(budgets, zip(*prompts_of, strict=True), strict=True)
        ]
        rollouts = [[_joined([group[0] for group in groups])] for groups in zip(*samples, strict=True)]
    else:
        rollouts = await sampler.sample([prompt for [prompt] in prompts_of], seed=f"{seed}:validation")
    grades = grade_rollouts(
        rollouts,
        problems,
        task=task,
        tokenizer=model.tokenizer,
        reasoning=model.reasoning,
        num_threads=num_threads,
    )
    return Validation(budgets=tuple(budgets), rollouts_P=[group[0] for group in rollouts], grades=grades)


def _joined(rollouts_B: Sequence[Rollout]) -> Rollout:
    """Rollouts with one budget each as a single one, with the thinking of the largest budget."""
    return replace(
        rollouts_B[-1],
        truncations=tuple(rollout.truncations[0] for rollout in rollouts_B),
        answers=tuple(rollout.answers[0] for rollout in rollouts_B),
    )


def _mean(numbers: Any) -> float:
    values = list(numbers)
    return sum(values) / len(values)
