"""Recipes of reinforcement learning: presets equal the paper's table, and each shipped recipe can run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from anytime_training.config import BrpoRecipe, load_recipe
from anytime_training.config.brpo import PRESETS
from anytime_training.errors import RecipeError
from anytime_training.run import Run
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
MINIMAL = 'kind = "brpo"\nname = "tiny"\nmodel = "demo"\nsteps = 1\n'
BUDGETS = "[rollout]\nbudgets = [2, 4, 6, 8]\n"


def read(folder: Path, text: str, **environment: str) -> BrpoRecipe:
    path = folder / "recipe.toml"
    path.write_text(text)
    recipe = load_recipe(path, environment=environment, flags={})
    assert isinstance(recipe, BrpoRecipe)
    return recipe


@pytest.mark.parametrize(
    ("preset", "summary", "num_answers", "num_budgets", "prior", "baseline"),
    [
        ("grpo", "grpo", 1, 1, "base", "v2_only"),
        ("ar-base", "brpo", 4, 4, "base", "brpo"),
        ("ar-uniform", "brpo", 4, 4, "uniform", "brpo"),
        ("ar-linear", "brpo", 4, 4, "linear", "brpo"),
        ("grpo+linear", "grpo", 1, 4, "linear", "v2_only"),
        ("grpo+decouple", "brpo", 4, 4, "base", "v2_only"),
        ("grpo+vr", "grpo", 1, 4, "base", "brpo"),
    ],
)
def test_presets_are_the_papers_table(
    tmp_path: Path, preset: str, summary: str, num_answers: int, num_budgets: int, prior: str, baseline: str
) -> None:
    recipe = read(tmp_path, MINIMAL + f'preset = "{preset}"\n' + BUDGETS)
    assert recipe.credit.summary == summary
    assert recipe.rollout.answers_per_budget == num_answers
    assert recipe.rollout.trained_budgets == [2, 4, 6, 8][-num_budgets:]
    assert recipe.credit.prior == prior
    assert recipe.credit.baseline == baseline


def test_recipe_overrides_the_preset(tmp_path: Path) -> None:
    text = MINIMAL + BUDGETS + "answers_per_budget = 3\n[credit]\nprior = [1, 0, 0, 2]\n"
    recipe = read(tmp_path, text, ANYTIME_TRAIN_CREDIT__BASELINE="none")
    assert (recipe.rollout.answers_per_budget, recipe.credit.prior) == (3, [1, 0, 0, 2])
    assert (recipe.credit.baseline, recipe.credit.summary) == ("none", "brpo")


def test_all_presets_can_be_named() -> None:
    assert set(PRESETS) == set(BrpoRecipe.model_fields["preset"].annotation.__args__)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (MINIMAL, "rollout"),
        (MINIMAL + "[rollout]\nbudgets = []\n", "rollout.budgets"),
        (MINIMAL + "[rollout]\nbudgets = [8, 4]\n", "budgets must ascend"),
        (MINIMAL + BUDGETS + "[credit]\nprior = [1, 2]\n", "credit.prior must have 4 weights"),
        (MINIMAL + BUDGETS + "[credit]\nprior = [0, 0, 0, 0]\n", "credit.prior"),
        (MINIMAL + BUDGETS + "[credit]\nprior = 'quadratic'\n", "credit.prior"),
        (MINIMAL + 'preset = "ppo"\n' + BUDGETS, "preset"),
        (MINIMAL + BUDGETS + "[loss]\nclip = 0.2\n", "loss.clip"),
        (MINIMAL + BUDGETS + "[engine]\nkind = 'sglang'\n", "engine.kind"),
        (MINIMAL + 'reasoning_preset = "llama"\n' + BUDGETS, "reasoning_preset"),
        (MINIMAL + BUDGETS + "[learner]\nattention = 'flex'\nrow_tokens = 100\n", "row_tokens must be"),
        (MINIMAL + BUDGETS + "[evaluation]\nbudgets = [4, 2]\n", "evaluation.budgets"),
        (MINIMAL + BUDGETS + "[task]\nkind = 'riddle'\n", "task"),
        (MINIMAL + 'rollout = "many"\n', "rollout"),
        (MINIMAL + 'report_to = ["mlflow"]\n' + BUDGETS, "report_to"),
    ],
)
def test_faults_name_the_key(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(RecipeError, match=fault.replace(".", r"\.")):
        read(tmp_path, text)


def test_a_recipe_can_extend_another(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(MINIMAL + BUDGETS + "group_size = 3\n")
    recipe = read(tmp_path, 'extends = "base.toml"\nname = "other"\n[rollout]\nbudgets = [5]\n')
    assert (recipe.name, recipe.model) == ("other", "demo")
    assert (recipe.rollout.budgets, recipe.rollout.group_size) == ([5], 3)


def test_extends_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.toml: No such file"):
        read(tmp_path, 'extends = "nowhere.toml"\n')
    with pytest.raises(RecipeError, match="extends itself"):
        read(tmp_path, 'extends = "recipe.toml"\n')


def test_the_demo_recipes_differ_in_the_preset_alone() -> None:
    recipes = [load_recipe(path, environment={}, flags={}) for path in sorted(RECIPES.glob("demo-*.toml"))]
    assert len(recipes) == 7
    first = recipes[0].model_dump(exclude={"name", "preset", "credit", "rollout"})
    for recipe in recipes:
        assert recipe.model_dump(exclude={"name", "preset", "credit", "rollout"}) == first


@pytest.mark.nightly
def test_the_papers_recipe_takes_a_step_on_a_tiny_model_of_the_same_kind(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The recipe with a small model, dataset, batch and budgets, on a CPU; all other keys are unchanged."""
    from anytime_training.brpo import train_brpo

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    tokenizer.add_tokens(["<｜Assistant｜>"])
    tokenizer.save_pretrained(tmp_path / "model")
    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(tmp_path / "model")
    problems = {
        "prompt": [f"What is {n} + 1?" for n in range(200)],
        "answer": [str(n + 1) for n in range(200)],
    }
    pq.write_table(pa.table(problems), tmp_path / "train.parquet")
    recipe = load_recipe(
        RECIPES / "deepseek-r1-distill-qwen-1.5b-8k.toml",
        environment={
            "ANYTIME_TRAIN_MODEL": str(tmp_path / "model"),
            "ANYTIME_TRAIN_TASK__PATH": str(tmp_path / "train.parquet"),
            "ANYTIME_TRAIN_ROLLOUT__PROMPTS": "2",
            "ANYTIME_TRAIN_ROLLOUT__BUDGETS": "[20, 40, 60, 80]",
            "ANYTIME_TRAIN_ROLLOUT__ANSWER_TOKENS": "8",
            "ANYTIME_TRAIN_ENGINE__KIND": "transformers",
            "ANYTIME_TRAIN_ENGINE__WINDOW_TOKENS": "512",
            "ANYTIME_TRAIN_LEARNER__ATTENTION": "sdpa",
            "ANYTIME_TRAIN_LEARNER__ROW_TOKENS": "512",
            "ANYTIME_TRAIN_EVALUATION__PROBLEMS": "2",
            "ANYTIME_TRAIN_LOSS__KL_COEFFICIENT": "0.001",  # a gradient even if no answer is right
        },
        flags={"steps": 1},
    )
    assert isinstance(recipe, BrpoRecipe)
    (tmp_path / "run").mkdir()
    assert train_brpo(recipe, Run(folder=tmp_path / "run", resume=False, versions={}))
    [metrics] = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert metrics["learned_tokens"] > 2 * 8 * 80
    assert metrics["grad_norm"] > 0 or metrics["reward"] == 0
    manifest = json.loads((tmp_path / "run" / "checkpoint" / "anytime.json").read_text())
    assert manifest["truncation"] == "...\n\n...\n\n"
    assert manifest["answer_lead_in"] == "\n\n**Final Answer**\n"
