"""Estimators in a run: their metrics, what they sample, and an exact resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_training.brpo import train_brpo
from anytime_training.config import BrpoRecipe, load_recipe
from anytime_training.errors import RecipeError
from anytime_training.run import Run

RECIPE = """
kind = "brpo"
name = "tiny"
model = "demo-warmstart"
preset = "custom"
seed = 3
steps = 3
[task]
kind = "chain"
min_operands = 8
[rollout]
prompts = 2
group_size = 3
answers_per_budget = 3
allocation = "neyman"
budgets = [8, 24]
answer_tokens = 4
[credit]
baseline = "value"
reward = "likelihood"
summary = "exact"
[engine]
kind = "transformers"
[learner]
learning_rate = 1e-4
[evaluation]
every_steps = 10
problems = 2
"""


def recipe_of(path: Path, text: str = RECIPE) -> BrpoRecipe:
    path.write_text(text)
    recipe = load_recipe(path, environment={}, flags={})
    assert isinstance(recipe, BrpoRecipe)
    return recipe


def train(recipe: BrpoRecipe, out: Path, *, resume: bool = False, stop: bool = False) -> list[dict[str, Any]]:
    out.mkdir(exist_ok=True)
    train_brpo(recipe, Run(folder=out, resume=resume, versions={}, should_stop=lambda: stop))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "timing")} for line in lines]


def test_a_run_with_estimators_is_recorded_and_resumes_exactly(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "recipe.toml")
    metrics = train(recipe, tmp_path / "whole")
    assert [line["value_error_at"]["8"] is None for line in metrics] == [True, False, False]
    assert metrics[0]["answers_at"] == {"8": 3, "24": 3}
    for line in metrics:
        assert sum(line["answers_at"].values()) == 6
        assert line["unlisted_at"] == {"8": 0, "24": 0}, "the digit is the only right answer"
        assert line["mismatch"] < 1e-5
        for budget, likelihood in line["likelihood_at"].items():
            assert likelihood == pytest.approx(line["reward_at"][budget], abs=0.35)
            assert 0 < likelihood < 1

    train(recipe, tmp_path / "stopped", stop=True)
    assert train(recipe, tmp_path / "stopped", resume=True) == metrics
    states = [
        torch.load(tmp_path / name / "training_state.pt", weights_only=True) for name in ("whole", "stopped")
    ]
    assert set(states[0]["credit"]) == {"value_gram_FF", "value_moment_F", "allocation_sums_3B"}
    for part in ("model", "credit"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('summary = "exact"', 'summary = "exact"\n[loss]\nkl_coefficient = 0.1', "exclude each other"),
        ("answers_per_budget = 3", "answers_per_budget = 1", "needs answers_per_budget of at least 2"),
        ('baseline = "value"', 'baseline = "v3"', "credit.baseline.*'brpo'.*'fitted'"),
    ],
)
def test_incompatible_settings_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_of(tmp_path / "recipe.toml", RECIPE.replace(old, new))
