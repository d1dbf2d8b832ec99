"""Recipes: the shipped recipes parse, and errors name the key."""

import re
from pathlib import Path

import pytest
from anytime_training.config import WarmstartRecipe, load_recipe
from anytime_training.errors import RecipeError

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.toml"))
MINIMAL = 'kind = "warmstart"\nname = "tiny"\nsteps = 3\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_there_are_recipes() -> None:
    assert "warmstart-demo.toml" in [path.name for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_parses(path: Path) -> None:
    assert load_recipe(path, environment={}, flags={}).name


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (MINIMAL + "stepps = 4\n", "stepps"),
        (MINIMAL + "[model]\nhiden_size = 4\n", "model.hiden_size"),
        (MINIMAL + "[model]\nhead_dim = 31\n", "model.head_dim"),
        (MINIMAL + "[model]\nnum_heads = 3\nnum_key_value_heads = 2\n", "num_key_value_heads"),
        (MINIMAL + "[examples]\ntruncations = -1\n", "examples.truncations"),
        (MINIMAL + "[task]\nmin_operands = 9\nmax_operands = 4\n", "min_operands"),
        (MINIMAL + "[traces]\nterse_weight = 0\nwordy_weight = 0\nrecheck_weight = 0\n", "traces"),
        (MINIMAL + "[reasoning]\nbudgets = [8, 4]\n", "reasoning"),
        (MINIMAL + "[optimiser]\nbeta1 = 1.0\n", "optimiser.beta1"),
        (MINIMAL + "[optimiser]\nlearning_rate = inf\n", "optimiser.learning_rate"),
        (MINIMAL + "seed = 99999999999999999999999\n", "seed"),
        ('kind = "warmstart"\nname = "tiny"\n', "steps"),
        ('name = "tiny"\nsteps = 3\n', "kind"),
        ('kind = "dance"\nname = "tiny"\nsteps = 3\n', "kind"),
        ("steps = ", "not TOML"),
    ],
)
def test_a_bad_recipe_is_refused_naming_file_and_key(tmp_path: Path, text: str, fault: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as refusal:
        load_recipe(path, environment={}, flags={})
    assert fault in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: No such file"):
        load_recipe(tmp_path / "none.toml", environment={}, flags={})


def test_file_then_environment_then_flags(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "seed = 1\nthreads = 1\n")
    environment = {
        "ANYTIME_TRAIN_SEED": "2",
        "ANYTIME_TRAIN_STEPS": "20",
        "ANYTIME_TRAIN_NAME": "other",
        "ANYTIME_TRAIN_OPTIMISER__LEARNING_RATE": "1e-4",
        "UNRELATED": "x",
    }
    recipe = load_recipe(path, environment=environment, flags={"steps": 30, "seed": None})
    assert isinstance(recipe, WarmstartRecipe)
    assert (recipe.threads, recipe.seed, recipe.steps, recipe.name) == (1, 2, 30, "other")
    assert recipe.optimiser.learning_rate == 1e-4
    assert recipe.optimiser.warmup_steps == 100


@pytest.mark.parametrize(
    ("variable", "fault"),
    [
        ("ANYTIME_TRAIN_SEEED", "seeed: Extra"),
        ("ANYTIME_TRAIN_SEED__DEEP", "seed__deep: Extra"),
        ("ANYTIME_TRAIN_MODEL__WIDTH", "model.width: Extra"),
    ],
)
def test_unknown_variables_are_refused(tmp_path: Path, variable: str, fault: str) -> None:
    path = write(tmp_path, MINIMAL + "seed = 1\n")
    with pytest.raises(RecipeError, match=re.escape(fault)):
        load_recipe(path, environment={variable: "1"}, flags={})


def test_a_table_in_one_variable_replaces_the_recipes(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "[optimiser]\nwarmup_steps = 7\nlearning_rate = 1.0\n")
    environment = {"ANYTIME_TRAIN_OPTIMISER": "{warmup_steps = 3}"}
    recipe = load_recipe(path, environment=environment, flags={})
    assert isinstance(recipe, WarmstartRecipe)
    assert (recipe.optimiser.warmup_steps, recipe.optimiser.learning_rate) == (3, 2e-3)
    environment = {"ANYTIME_TRAIN_OPTIMISER__WARMUP_STEPS": "3"}
    recipe = load_recipe(path, environment=environment, flags={})
    assert isinstance(recipe, WarmstartRecipe)
    assert (recipe.optimiser.warmup_steps, recipe.optimiser.learning_rate) == (3, 1.0)
