"""`anytime train`: read a recipe, open the run's folder, train.

Nothing heavy is imported before the recipe is validated.
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
from anytime_server.printable import print_error

from anytime_training.config import Recipe, load_recipe
from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.interrupt import INTERRUPTED, end_if_a_task_hangs, stop_checking
from anytime_training.run import CHECKPOINT_NAME, open_run

FAILED = 1
USAGE_ERROR = 2


def train(argv: Sequence[str]) -> int:
    """Run `anytime train` with the arguments after `train`. Returns the exit code."""
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
        again = shlex.join(["anytime", "train", *argv, *([] if arguments.resume else ["--resume"])])
        with (
            _interruptible(again) as interrupted,
            open_run(out, recipe, resume=arguments.resume, should_stop=lambda: bool(interrupted)) as run,
        ):
            done = _trainer(recipe)(recipe, run)
    except RecipeError as error:
        print_error("train", error)
        return USAGE_ERROR
    except (AnytimeError, TrainingFailed, OSError) as error:
        print_error("train", error)
        return FAILED
    if not done:
        print(f"stopped and saved; continue with: {again}", file=sys.stderr)
        return INTERRUPTED
    print(f"the checkpoint is in {out / CHECKPOINT_NAME}", file=sys.stderr)
    return 0


def _trainer(recipe: Recipe) -> Callable[..., bool]:
    """The trainer for recipes of this kind: whether all steps are done, from recipe and `Run`."""
    if recipe.kind == "warmstart":
        from anytime_training.demo.warmstart import train_warmstart

        return train_warmstart
    from anytime_training.brpo import train_brpo

    return train_brpo


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anytime train", description="Train a model from a recipe.", allow_abbrev=False
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE.toml", help="the recipe")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the run (default: runs/ and the recipe's file name)",
    )
    parser.add_argument("--resume", action="store_true", help="resume the run in that folder")
    parser.add_argument("--steps", type=int, metavar="N", help="steps; overrides the recipe")
    parser.add_argument("--seed", type=int, metavar="N", help="seed; overrides the recipe")
    return parser


@contextmanager
def _interruptible(again: str) -> Iterator[list[int]]:
    """Collect the first SIGINT or SIGTERM: the trainer ends after its step. A second has its usual effect.

    Args:
        again: the command that resumes the run.
    """
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in signals}

    def collect(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()
        end_if_a_task_hangs("train", advice=f"steps since the last save are lost; continue with: {again}")

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in signals:
        signal.signal(number, collect)
    try:
        yield received
    finally:
        restore()
        stop_checking()
