"""A run's folder: what is in it, and whether a run may begin or go on there."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

from anytime_training.errors import RecipeError

RECIPE_NAME = "recipe.json"
"""The resolved recipe."""
VERSIONS_NAME = "versions.json"
"""Versions of the libraries that the run was begun with."""
TOKENIZER_NAME = "tokenizer"
STATE_NAME = "training_state.pt"
"""What training resumes from; there as soon as there is anything to lose."""
CHECKPOINT_NAME = "checkpoint"
"""What is served."""
DISTRIBUTIONS = ("anytime-reasoner", "torch", "transformers", "tokenizers", "safetensors")


def prepare_folder(out: Path, recipe: BaseModel, *, resume: bool) -> dict[str, str]:
    """Write the resolved recipe and the versions into the run's folder, or check them against it.

    Returns:
        Versions of the libraries that the run was begun with.

    Raises:
        RecipeError: the folder holds a run and it is not to be resumed, or the other way
            round, or the run in it was made by another recipe, or it cannot be written.
    """
    try:
        return _resume(out, recipe) if resume else _begin(out, recipe)
    except OSError as error:
        raise RecipeError(f"{out} cannot be the folder of a run: {error.strerror}") from error


def _begin(out: Path, recipe: BaseModel) -> dict[str, str]:
    if (out / STATE_NAME).exists():
        raise RecipeError(f"{out} already holds a run: give --resume to go on with it, or another --out")
    out.mkdir(parents=True, exist_ok=True)
    versions = _versions()
    (out / VERSIONS_NAME).write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    resolved = recipe.model_dump(mode="json")
    (out / RECIPE_NAME).write_text(json.dumps(resolved, indent=2) + "\n", encoding="utf-8")
    return versions


def _resume(out: Path, recipe: BaseModel) -> dict[str, str]:
    if not (out / RECIPE_NAME).exists():
        raise RecipeError(f"{out} holds no run to resume")
    resolved, recorded = recipe.model_dump(mode="json"), _read(out / RECIPE_NAME)
    for key in resolved.keys() | recorded.keys():
        if resolved.get(key) != recorded.get(key):
            raise RecipeError(
                f"{key}: the run in {out} was started with {recorded.get(key)!r}, not {resolved.get(key)!r}"
            )
    return _read(out / VERSIONS_NAME)


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise RecipeError(f"{path} is damaged: it holds no object")
    return found


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for distribution in DISTRIBUTIONS:
        try:
            versions[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return versions
