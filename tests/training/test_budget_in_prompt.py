"""Training for budgets that the model knows: prompts, limits of the thinking, and rewards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine import EngineRequest
from anytime_server.text.model import BUNDLED_MODELS, Model
from anytime_training import assignment, brpo
from anytime_training.brpo import train_brpo
from anytime_training.config import BrpoRecipe, load_recipe
from anytime_training.config.credit import CreditConfig
from anytime_training.errors import RecipeError
from anytime_training.rollout import prompt_of, require_shown_budget
from anytime_training.run import Run

PROMPTS, GROUP, BUDGETS = 6, 2, [8, 24]
RECIPE = f"""
kind = "brpo"
name = "tiny"
preset = "custom"
steps = 1
[rollout]
prompts = {PROMPTS}
group_size = {GROUP}
answers_per_budget = 2
budgets = {BUDGETS}
answer_tokens = 4
budget_in_prompt = true
[credit]
prior = [1, 3]
[engine]
kind = "transformers"
[evaluation]
every_steps = 10
problems = 2
"""


@pytest.fixture(name="checkpoint", scope="module")
def fixture_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warm start with a chat template that names the budget first."""
    folder = tmp_path_factory.mktemp("checkpoint") / "shows-budget"
    shutil.copytree(BUNDLED_MODELS / "demo-warmstart", folder)
    template = folder / "chat_template.jinja"
    shown = "{% if thinking_budget is defined %}{{ thinking_budget }}{% endif %}"
    template.write_text(shown + template.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def test_prompt_shows_the_budget(checkpoint: Path) -> None:
    model = Model.load(checkpoint)
    shown, plain = (prompt_of(model, "7-3", budget_tokens=budget) for budget in (24, None))
    assert shown == [*model.tokenizer.encode("24"), *plain]
    require_shown_budget(model)
    with pytest.raises(RecipeError, match=r"rollout\.budget_in_prompt: .* no variable thinking_budget"):
        require_shown_budget(Model.load(BUNDLED_MODELS / "demo-warmstart"))


def test_reward_is_that_of_the_named_budget(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace('name = "tiny"', 'name = "tiny"\nmodel = "demo"'))
    recipe = load_recipe(path, environment={}, flags={})
    assert isinstance(recipe, BrpoRecipe)
    assert (recipe.credit.prior, recipe.effective_credit.prior) == ([1, 3], "base")
    path.write_text(path.read_text().replace("budget_in_prompt = true", ""))
    recipe = load_recipe(path, environment={}, flags={})
    assert isinstance(recipe, BrpoRecipe)
    assert recipe.effective_credit == recipe.credit


def test_thinking_ends_at_the_budget_that_its_prompt_names(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[EngineRequest]] = []
    build = brpo.build_engine

    def built(*arguments: Any) -> Any:
        engine = build(*arguments)
        generate_all: Callable[..., Any] = engine.generate_all

        async def generated(requests: list[EngineRequest]) -> Any:
            batches.append(requests)
            return await generate_all(requests)

        engine.generate_all = generated  # type: ignore[method-assign]
        return engine

    priors: list[Any] = []
    credit = assignment.credit_trees

    def credited(rollouts: Any, rewards: Any, budgets: Any, config: CreditConfig, **options: Any) -> Any:
        priors.append(config.prior)
        return credit(rollouts, rewards, budgets, config, **options)

    monkeypatch.setattr(brpo, "build_engine", built)
    monkeypatch.setattr(assignment, "credit_trees", credited)
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace('name = "tiny"', f'name = "tiny"\nmodel = "{checkpoint}"'))
    recipe = load_recipe(path, environment={}, flags={})
    assert isinstance(recipe, BrpoRecipe)
    assert train_brpo(recipe, Run(folder=tmp_path, resume=False, versions={}))

    names = {budget: Model.load(checkpoint).tokenizer.encode(str(budget)) for budget in BUDGETS}

    def named(request: EngineRequest) -> int:
        return next(budget for budget, ids in names.items() if request.prompt_ids[: len(ids)] == ids)

    # An evaluation has thinking and answers of each budget in turn; then come those of the step.
    for thinking, budget in zip((batches[0], batches[2]), BUDGETS, strict=True):
        assert [(named(one), one.sampling.max_tokens) for one in thinking] == [(budget, budget)] * 2
    step = batches[4]
    limits = [one.sampling.max_tokens for one in step]
    assert limits == [named(one) for one in step]
    assert set(limits) == set(BUDGETS)
    assert limits[::GROUP] == limits[1::GROUP], "a group has the same budget"
    assert priors == ["base"]
    [evaluation, _] = [json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
    assert evaluation["budgets"] == BUDGETS
