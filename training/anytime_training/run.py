"""A run and its folder: the files in it, and whether a run may start or resume there."""

from __future__ import annotations

import fcntl
import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from anytime_server.printable import print_error
from pydantic import BaseModel

from anytime_training.errors import RecipeError

RECIPE_NAME = "recipe.json"
"""The resolved recipe."""
VERSIONS_NAME = "versions.json"
"""Versions of the libraries that the run started with."""
TOKENIZER_NAME = "tokenizer"
STATE_NAME = "training_state.pt"
"""The state that training resumes from."""
CHECKPOINT_NAME = "checkpoint"
"""The checkpoint, to be served."""
LOCK_NAME = "lock"
"""Held by the process that trains in the folder."""
DISTRIBUTIONS = ("anytime-reasoner", "torch", "transformers", "tokenizers", "safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run in progress, as every trainer takes it."""

    folder: Path
    resume: bool
    """Continue from the state in the folder."""
    versions: dict[str, str]
    """Versions of the libraries that the run started with, for the manifest."""
    should_stop: Callable[[], bool] = lambda: False
    """Called after every step; when true, the trainer saves everything and returns."""


@contextmanager
def open_run(
    folder: Path, recipe: BaseModel, *, resume: bool, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[Run]:
    """Lock the run's folder against other processes, and check that the run may start or resume there.

    Writes the resolved recipe and the versions of a new run. Compares those of a resumed run with the current
    ones.

    Raises:
        RecipeError: a new run in a folder that holds a run; nothing to resume; the recipe of the run differs;
            another process trains there; the folder cannot be written.
    """
    if resume and not (folder / RECIPE_NAME).exists():
        raise RecipeError(f"{folder} holds no run to resume")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_NAME).open("w")
    except OSError as error:
        raise RecipeError(f"{folder} cannot be the folder of a run: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RecipeError(f"{folder} is in use: another process trains there") from error
        versions = _resume(folder, recipe) if resume else _start(folder, recipe)
        yield Run(folder=folder, resume=resume, versions=versions, should_stop=should_stop)


def _start(folder: Path, recipe: BaseModel) -> dict[str, str]:
    if (folder / STATE_NAME).exists() or (folder / CHECKPOINT_NAME).exists():
        raise RecipeError(f"{folder} already holds a run: continue it with --resume, or choose another --out")
    versions = _versions()
    _write(folder / VERSIONS_NAME, versions)
    _write(folder / RECIPE_NAME, recipe.model_dump(mode="json"))
    return versions


def _resume(folder: Path, recipe: BaseModel) -> dict[str, str]:
    resolved, recorded = recipe.model_dump(mode="json"), _read(folder / RECIPE_NAME)
    may_change: frozenset[str] = getattr(recipe, "may_change", frozenset())
    for key, before, after in _differences(recorded, resolved):
        if key not in may_change:
            raise RecipeError(f"{key}: the run in {folder} was started with {before!r}, not {after!r}")
    _write(folder / RECIPE_NAME, resolved)
    started_with = _read(folder / VERSIONS_NAME)
    for name, before, after in _differences(started_with, _versions()):
        print_error("train", f"{name} is {after} now; the run started with {before}")
    return started_with


def _differences(
    recorded: dict[str, Any], resolved: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, old and new value of each difference."""
    for key in sorted(recorded.keys() | resolved.keys()):
        before, after = recorded.get(key), resolved.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after


def _write(path: Path, values: dict[str, Any]) -> None:
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
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
