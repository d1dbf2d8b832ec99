"""Rollouts of the checkpoint that a recipe starts from, sampled and graded as its training would.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from anytime_server.engine import Engine
from anytime_server.text.model import Model
from anytime_training.config import BrpoRecipe, load_recipe
from anytime_training.credit import truncation_lengths
from anytime_training.reward import Grades, grade_rollouts
from anytime_training.rollout import Rollout, RolloutSampler, prompt_of
from anytime_training.start import build_engine, load_start
from anytime_training.tasks import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRollouts:
    """Graded rollouts of some training problems."""

    model: Model
    """The start checkpoint, without its weights."""
    budgets: list[int]
    """The B budgets."""
    problems: list[Problem]
    """P problems."""
    rollouts: list[list[Rollout]]
    """G rollouts of each problem."""
    grades: Grades
    """Their grades."""

    @property
    def lengths_PGB(self) -> torch.Tensor:
        """Thinking tokens of each truncation."""
        return truncation_lengths(self.rollouts)


def read_recipe(path: Path) -> BrpoRecipe:
    """A recipe of reinforcement learning, with the overrides of the environment.

    Raises:
        RecipeError: it is damaged.
        SystemExit: it is a recipe of another kind.
    """
    recipe = load_recipe(path, environment=os.environ, flags={})
    if not isinstance(recipe, BrpoRecipe):
        raise SystemExit(f"{path} is no recipe of reinforcement learning")
    return recipe


@asynccontextmanager
async def start_engine(recipe: BrpoRecipe) -> AsyncIterator[tuple[Model, Engine]]:
    """The recipe's start checkpoint on its engine."""
    model = load_start(recipe)
    engine = build_engine(recipe, model)
    try:
        await engine.start()
        yield model, engine
    finally:
        await engine.stop()


async def sample_rollouts(
    recipe: BrpoRecipe,
    model: Model,
    engine: Engine,
    *,
    budgets: Sequence[int],
    num_prompts: int,
    seed: str,
    group_size: int | None = None,
    answers_per_budget: int | None = None,
) -> StartRollouts:
    """Sample rollouts of training problems at temperature 1, and grade them.

    Args:
        group_size, answers_per_budget: the recipe's if None.
    """
    sampler = RolloutSampler(
        engine=engine,
        reasoning=model.reasoning,
        budgets=budgets,
        group_size=group_size or recipe.rollout.group_size,
        answers_per_budget=answers_per_budget or recipe.rollout.answers_per_budget,
        answer_tokens=recipe.rollout.answer_tokens or model.manifest.answer_tokens,
    )
    rng = random.Random(seed)
    problems: list[Problem] = []
    prompts: list[list[int]] = []
    for _ in range(100 * num_prompts):
        problem = recipe.task.sample(rng)
        prompt_ids = prompt_of(model, problem.prompt)
        if sampler.fits(len(prompt_ids)):
            problems.append(problem)
            prompts.append(prompt_ids)
        if len(problems) == num_prompts:
            break
    else:
        raise SystemExit("hardly a prompt leaves room in the window for thinking and an answer")
    rollouts = await sampler.sample(prompts, seed=seed)
    grades = grade_rollouts(
        rollouts,
        problems,
        task=recipe.task,
        tokenizer=model.tokenizer,
        reasoning=model.reasoning,
        num_threads=recipe.grading_threads,
    )
    return StartRollouts(
        model=model, budgets=list(budgets), problems=problems, rollouts=rollouts, grades=grades
    )
