"""Reading recipes.

Defaults < the recipe that it `extends` < the recipe's TOML file < environment (`ANYTIME_TRAIN_SEED`,
`ANYTIME_TRAIN_OPTIMISER__LEARNING_RATE`, ...) < flags. Imports no torch, so that a mistake
in a recipe is told at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anytime_training.config.brpo import BrpoRecipe
from anytime_training.demo.recipe import WarmstartRecipe
from anytime_training.errors import RecipeError

ENVIRONMENT_PREFIX = "ANYTIME_TRAIN_"

Recipe = WarmstartRecipe | BrpoRecipe

RECIPES: dict[str, type[Recipe]] = {"warmstart": WarmstartRecipe, "brpo": BrpoRecipe}


def load_recipe(path: Path, *, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Recipe:
    """Read a recipe and lay environment and flags over it.

    Args:
        flags: top-level keys given on the command line; None where a flag was not given.

    Raises:
        RecipeError: naming the file and, where there is one, the key.
    """
    values = _read(path)
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX):
            keys = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            _set_key(values, keys, _toml_value(environment[variable]), source=variable)
    values |= {key: value for key, value in flags.items() if value is not None}
    recipe_class = RECIPES.get(str(values.get("kind")))
    if recipe_class is None:
        raise RecipeError(f"{path}: kind: must be one of {', '.join(RECIPES)}, not {values.get('kind')!r}")
    try:
        return recipe_class.model_validate(values)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise RecipeError(f"{path}: " + "; ".join(faults)) from error


def _read(path: Path, *, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The values of a recipe; where it `extends` another one, laid over that one's."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error
    if "extends" not in values:
        return values
    extended = path.parent / str(values.pop("extends"))
    if extended in extended_by:
        raise RecipeError(f"{path}: extends: {extended} extends itself")
    return _laid_over(_read(extended, extended_by=(*extended_by, path)), values)


def _laid_over(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """`values`, with `others` instead where these say something; tables are merged."""
    merged = dict(values)
    for key, other in others.items():
        value = values.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            merged[key] = _laid_over(value, other)
        else:
            merged[key] = other
    return merged


def _set_key(values: dict[str, Any], keys: list[str], value: Any, *, source: str) -> None:
    *tables, last = keys
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise RecipeError(f"{source}: {table} is not a table")
    values[last] = value


def _toml_value(text: str) -> Any:
    """A value as it would be read in the recipe; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
