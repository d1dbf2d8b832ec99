"""Reading recipes.

Defaults < preset < the recipe that it `extends` < the recipe's TOML file < environment (`ANYTIME_TRAIN_SEED`,
`ANYTIME_TRAIN_OPTIMISER__LEARNING_RATE`, ...) < flags. Imports no torch, so that a mistake in a recipe is
reported at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from anytime_server.errors import UnusableOption
from anytime_server.toml_file import read_toml
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, InitSettingsSource

from anytime_training.config.brpo import BrpoRecipe
from anytime_training.demo.recipe import FineTuningRecipe, WarmstartRecipe
from anytime_training.errors import RecipeError, validation_message
from anytime_training.section import ENVIRONMENT_PREFIX, RecipeSettings

Recipe = WarmstartRecipe | FineTuningRecipe | BrpoRecipe

RECIPES: dict[str, type[Recipe]] = {"warmstart": WarmstartRecipe, "brpo": BrpoRecipe}


def load_recipe(path: Path, *, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Recipe:
    """Read a recipe; environment and flags override it.

    Args:
        flags: top-level keys given on the command line; None where a flag was not given.

    Raises:
        RecipeError: naming the file and, where there is one, the key.
    """
    files = _read(path)
    kind = next((values["kind"] for values in files if "kind" in values), None)
    recipe_class = RECIPES.get(str(kind))
    if recipe_class is None:
        raise RecipeError(f"{path}: kind: must be one of {', '.join(RECIPES)}, not {kind!r}")
    if recipe_class is WarmstartRecipe and any(isinstance(values.get("model"), str) for values in files):
        recipe_class = FineTuningRecipe
    given = {key: value for key, value in flags.items() if value is not None}
    # Sources are merged, but a table that one variable gives as a whole replaces the recipe's.
    whole = {key for key in recipe_class.model_fields if f"{ENVIRONMENT_PREFIX}{key.upper()}" in environment}
    sources = (
        InitSettingsSource(recipe_class, given),
        _Environment(recipe_class, environment),
        *(
            InitSettingsSource(recipe_class, {key: values[key] for key in values.keys() - whole})
            for values in files
        ),
    )
    try:
        return recipe_class(_build_sources=(sources, {}))  # pyright: ignore[reportCallIssue]
    except ValidationError as error:
        raise RecipeError(f"{path}: {validation_message(error)}") from error


def _read(path: Path) -> list[dict[str, Any]]:
    """The values of the recipe, then those of each recipe that it extends, the nearest first."""
    files: dict[Path, dict[str, Any]] = {}
    while True:
        try:
            values = read_toml(path, option="recipe")
        except UnusableOption as error:
            raise RecipeError(str(error)) from error
        files[path] = values
        if "extends" not in values:
            return list(files.values())
        path = path.parent / str(values.pop("extends"))
        if path in files:
            raise RecipeError(f"{path}: extends: {path} extends itself")


class _Environment(DotEnvSettingsSource):
    """Environment variables, their lists and tables in TOML, as in a recipe.

    The library ignores unknown variables of the environment, but not those of a `.env` file: recipes refuse
    both.
    """

    def __init__(self, recipe_class: type[RecipeSettings], environment: Mapping[str, str]) -> None:
        super().__init__(recipe_class, env_file=None, dotenv_filtering="match_prefix")
        self.env_vars = {name.lower(): value for name, value in environment.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """The list or table. Other text stays as it is, for validation to refuse with its key."""
        with suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(f"value = {value}")["value"]
        return value
