"""A run's folder: what is in it, and whether a run may begin or go on there."""

from __future__ import annotations

import fcntl
import json
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from anytime_training.errors import RecipeError

RECIPE_NAME = "recipe.json"
"""The resolved recipe."""
VERSIONS_NAME = "versions.json"
"""Versions of the libraries that the run was begun with."""
TOKENIZER_NAME = "tokenizer"
STATE_NAME = "training_state.pt"
"""What training resumes from."""
CHECKPOINT_NAME = "checkpoint"
"""What is served."""
LOCK_NAME = "lock"
"""Held by the process that trains here."""
DISTRIBUTIONS = ("anytime-reasoner", "torch", "transformers", "tokenizers", "safetensors")


@contextmanager
def run_folder(out: Path, recipe: BaseModel, *, resume: bool) -> Iterator[dict[str, str]]:
    """Hold the run's folder: no other process trains there meanwhile.

    A new run's resolved recipe and versions are written; those of one that is resumed are
    compared and read.

    Yields:
        Versions of the libraries that the run was begun with.

    Raises:
        RecipeError: the folder holds a run and it is not to be resumed, or the other way
            round, or the run in it was made by another recipe, or is going on, or the folder
            cannot be written.
    """
    if resume and not (out / RECIPE_NAME).exists():
        raise RecipeError(f"{out} holds no run to resume")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK_NAME).open("w")
    except OSError as error:
        raise RecipeError(f"{out} cannot be the folder of a run: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RecipeError(f"{out} is in use: another process trains there") from error
        yield _resume(out, recipe) if resume else _begin(out, recipe)


def _begin(out: Path, recipe: BaseModel) -> dict[str, str]:
    if (out / STATE_NAME).exists() or (out / CHECKPOINT_NAME).exists():
        raise RecipeError(f"{out} already holds a run: give --resume to go on with it, or another --out")
    versions = _versions()
    _write(out / VERSIONS_NAME, versions)
    _write(out / RECIPE_NAME, recipe.model_dump(mode="json"))
    return versions


def _resume(out: Path, recipe: BaseModel) -> dict[str, str]:
    resolved, recorded = recipe.model_dump(mode="json"), _read(out / RECIPE_NAME)
    may_change: frozenset[str] = getattr(recipe, "may_change", frozenset())
    for key, was, is_now in _differences(recorded, resolved):
        if key not in may_change:
            raise RecipeError(f"{key}: the run in {out} was started with {was!r}, not {is_now!r}")
    _write(out / RECIPE_NAME, resolved)
    began_with, now = _read(out / VERSIONS_NAME), _versions()
    for name, was, is_now in _differences(began_with, now):
        print(f"anytime train: {name} is {is_now} now; the run began with {was}", file=sys.stderr)
    return began_with


def _differences(
    recorded: dict[str, Any], resolved: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Key, old and new value of what differs, keys of tables after the table's."""
    for key in sorted(recorded.keys() | resolved.keys()):
        was, is_now = recorded.get(key), resolved.get(key)
        if isinstance(was, dict) and isinstance(is_now, dict):
            yield from _differences(was, is_now, f"{prefix}{key}.")
        elif was != is_now:
            yield f"{prefix}{key}", was, is_now


def _write(path: Path, values: dict[str, Any]) -> None:
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _read(path: Path) -> dict[str, Any]:
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
