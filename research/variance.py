"""How much of the return's variance does each baseline remove, before any training?

    python research/variance.py [--prompts N]

Samples rollouts of the warm start on training problems, as the first step of `demo-brpo.toml` does, and
computes Var[R - V] / Var[R] at each budget for the rollout's own past (V1), the group mean (V2) and BRPO's
mixture of both.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
from typing import Any

from anytime_training.advantage import budget_prior
from anytime_training.config import BrpoRecipe, load_recipe
from anytime_training.credit import truncation_lengths
from anytime_training.reward import grade_rollouts
from anytime_training.rollout import RolloutSampler
from anytime_training.start import build_engine, load_start
from anytime_training.variance import normalised_variance
from plots import plot_variance
from recording import RECIPES, RESULTS, ROOT, write_record


async def measure(recipe: BrpoRecipe, *, num_prompts: int) -> dict[str, Any]:
    """The variance ratios and the mean reward at each budget."""
    model, budgets = load_start(recipe), recipe.rollout.budgets
    engine = build_engine(recipe, model)
    await engine.start()
    try:
        sampler = RolloutSampler(
            engine=engine,
            reasoning=model.reasoning,
            budgets=budgets,
            group_size=recipe.rollout.group_size,
            answers_per_budget=recipe.rollout.answers_per_budget,
            answer_tokens=recipe.rollout.answer_tokens or model.manifest.answer_tokens,
        )
        rng = random.Random("variance")
        problems = [recipe.task.sample(rng) for _ in range(num_prompts)]
        prompts = [model.prompt_ids([{"role": "user", "content": one.prompt}]) for one in problems]
        rollouts = await sampler.sample(prompts, seed="variance")
    finally:
        await engine.stop()
    grades = grade_rollouts(
        rollouts, problems, task=recipe.task, tokenizer=model.tokenizer, reasoning=model.reasoning
    )
    variance = normalised_variance(
        grades.rewards_PGBA,
        truncation_lengths(rollouts),
        budgets,
        budget_prior(recipe.credit.prior, budgets),
        decay=recipe.credit.decay,
    )
    return {
        "budgets": budgets,
        "prompts": num_prompts,
        "group_size": recipe.rollout.group_size,
        "reward": grades.rewards_PGBA.mean((0, 1, 3)).tolist(),
        "variance": {
            name: [None if math.isnan(value) else round(value, 4) for value in values.tolist()]
            for name, values in variance.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=256, help="training problems (default: %(default)s)")
    arguments = parser.parse_args()
    recipe = load_recipe(RECIPES / "demo-brpo.toml", environment={}, flags={})
    assert isinstance(recipe, BrpoRecipe)
    record = asyncio.run(measure(recipe, num_prompts=arguments.prompts))
    write_record(RESULTS / "variance.json", record)
    plot_variance(record["variance"], record["budgets"], ROOT / "docs" / "variance.svg")
    for name, values in record["variance"].items():
        print(f"{name:5}", "  ".join("    -" if value is None else f"{value:5.2f}" for value in values))


if __name__ == "__main__":
    main()
