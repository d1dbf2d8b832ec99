"""`anytime train`: read a recipe, prepare the run's folder, train.

Nothing heavy is imported before the recipe is known to be good.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from anytime_server.errors import AnytimeError

from anytime_training.config import Recipe, load_recipe
from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.run import CHECKPOINT_NAME, run_folder

FAILED = 1
USAGE_ERROR = 2
INTERRUPTED = 130


def train(argv: Sequence[str]) -> int:
    """Run `anytime train` with the arguments after `train`; the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE_ERROR
    out = arguments.out or Path("runs") / arguments.recipe.stem
    try:
        recipe = load_recipe(
            arguments.recipe,
            environment=os.environ,
            flags={"steps": arguments.steps, "seed": arguments.seed},
        )
        if recipe.kind == "brpo":
            from anytime_server.engine.environment import preload_allocator, prepare_environment

            prepare_environment()  # before torch is imported
            preload_allocator()
        with run_folder(out, recipe, resume=arguments.resume) as versions, _interruptible() as interrupted:
            done = _trainer(recipe)(
                recipe, out, resume=arguments.resume, versions=versions, should_stop=lambda: bool(interrupted)
            )
    except RecipeError as error:
        print(f"anytime train: {error}", file=sys.stderr)
        return USAGE_ERROR
    except (AnytimeError, TrainingFailed, OSError) as error:
        print(f"anytime train: {error}", file=sys.stderr)
        return FAILED
    if not done:
        again = shlex.join(["anytime", "train", *argv, *([] if arguments.resume else ["--resume"])])
        print(f"stopped and saved; go on with: {again}", file=sys.stderr)
        return INTERRUPTED
    print(f"the checkpoint is in {out / CHECKPOINT_NAME}", file=sys.stderr)
    return 0


def _trainer(recipe: Recipe) -> Callable[..., bool]:
    """What trains by a recipe of this kind."""
    if recipe.kind == "warmstart":
        from anytime_training.demo.warmstart import train_warmstart

        return train_warmstart
    from anytime_training.brpo import train_brpo

    return train_brpo


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


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Collect the first interrupt, or order to end, instead of dying of it; a second one is as usual."""
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in signals}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in signals:
        signal.signal(number, note)
    try:
        yield received
    finally:
        restore()
