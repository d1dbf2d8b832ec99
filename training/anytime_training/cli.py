"""`anytime train`: read a recipe, prepare the run's folder, train.

Nothing heavy is imported before the recipe is known to be good.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

from anytime_training.config import RecipeError, WarmstartRecipe, load_recipe

USAGE_ERROR = 2
INTERRUPTED = 130
RECIPE_NAME = "recipe.json"
VERSIONS_NAME = "versions.json"
_DISTRIBUTIONS = ("anytime-reasoner", "torch", "transformers", "tokenizers", "safetensors")


def train(argv: Sequence[str]) -> int:
    """Run `anytime train` with the arguments after `train`; the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE_ERROR
    try:
        recipe = load_recipe(
            arguments.recipe,
            environment=os.environ,
            flags={"steps": arguments.steps, "seed": arguments.seed},
        )
        out = arguments.out or Path("runs") / arguments.recipe.stem
        versions = _prepare_folder(out, recipe, resume=arguments.resume)
    except RecipeError as error:
        print(f"anytime train: {error}", file=sys.stderr)
        return USAGE_ERROR

    from anytime_training.warmstart import train_warmstart

    with _interruptible() as interrupted:
        done = train_warmstart(
            recipe, out, resume=arguments.resume, versions=versions, should_stop=lambda: bool(interrupted)
        )
    if not done:
        again = shlex.join(["anytime", "train", *argv, *([] if arguments.resume else ["--resume"])])
        print(f"stopped and saved; go on with: {again}", file=sys.stderr)
        return INTERRUPTED
    print(f"the checkpoint is in {out / 'checkpoint'}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime train", description="Train a model by a recipe.", allow_abbrev=False
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE.toml", help="what to train, and how")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the run (default: runs/ and the recipe's file name)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    parser.add_argument("--steps", type=int, metavar="N", help="optimiser steps, instead of the recipe's")
    parser.add_argument("--seed", type=int, metavar="N", help="seed, instead of the recipe's")
    return parser


def _prepare_folder(out: Path, recipe: WarmstartRecipe, *, resume: bool) -> dict[str, str]:
    """Write the resolved recipe and the versions into the run's folder, or check them against it.

    Raises:
        RecipeError: the folder holds a run and it is not to be resumed, or the other way
            round, or the run in it was made by another recipe.
    """
    recipe_path = out / RECIPE_NAME
    resolved = recipe.model_dump(mode="json")
    if not resume:
        if recipe_path.exists():
            raise RecipeError(f"{out} already holds a run: give --resume to go on with it, or another --out")
        out.mkdir(parents=True, exist_ok=True)
        versions = _versions()
        (out / VERSIONS_NAME).write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
        recipe_path.write_text(json.dumps(resolved, indent=2) + "\n", encoding="utf-8")
        return versions
    if not recipe_path.exists():
        raise RecipeError(f"{out} holds no run to resume")
    recorded = json.loads(recipe_path.read_text(encoding="utf-8"))
    for key in resolved.keys() | recorded.keys():
        if resolved.get(key) != recorded.get(key):
            raise RecipeError(
                f"{key}: the run in {out} was started with {recorded.get(key)!r}, not {resolved.get(key)!r}"
            )
    return json.loads((out / VERSIONS_NAME).read_text(encoding="utf-8"))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for distribution in _DISTRIBUTIONS:
        try:
            versions[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return versions


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Collect the first interrupt instead of dying of it; a second one is as usual."""
    received: list[int] = []
    previous = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, previous)
