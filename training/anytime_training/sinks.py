"""Experiment trackers that get the metrics of a run: TensorBoard, Weights & Biases, Trackio."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from anytime_training.config.brpo import BrpoRecipe
from anytime_training.errors import RecipeError

Scalars = dict[str, float]
Write = Callable[[int, Scalars], object]


class Sinks:
    """The trackers of a recipe."""

    def __init__(self, writes: list[Write]) -> None:
        self._writes = writes

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Report the numbers in `metrics`, nested ones under their path."""
        if not self._writes:
            return
        scalars = dict(_scalars(metrics))
        for write in self._writes:
            write(step, scalars)


def require_sinks(recipe: BrpoRecipe) -> None:
    """Check, before training starts, that the trackers in `report_to` are installed.

    Raises:
        RecipeError: a tracker is not installed.
    """
    for name in recipe.report_to:
        _import("torch.utils.tensorboard" if name == "tensorboard" else name, package=name)


@contextmanager
def open_sinks(recipe: BrpoRecipe, out: Path, *, from_step: int = 0) -> Iterator[Sinks]:
    """Open the trackers in `report_to`, and close them at the end.

    Args:
        from_step: the next step; reports of it and later steps, from a run that was killed, are discarded.

    Raises:
        RecipeError: a tracker is not installed.
    """
    opened: list[tuple[Write, Callable[[], object]]] = []
    try:
        for name in recipe.report_to:
            opened.append(_OPENERS[name](recipe, out, from_step))
        yield Sinks([write for write, _ in opened])
    finally:
        for _, close in opened:
            close()


def _tensorboard(recipe: BrpoRecipe, out: Path, from_step: int) -> tuple[Write, Callable[[], object]]:
    writer = _import("torch.utils.tensorboard", package="tensorboard").SummaryWriter(
        str(out / "tensorboard"), purge_step=from_step or None
    )

    def write(step: int, scalars: Scalars) -> None:
        for name, value in scalars.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write, writer.close


def _wandb(recipe: BrpoRecipe, out: Path, from_step: int) -> tuple[Write, Callable[[], object]]:
    # With `id` and `resume`, a resumed run continues the tracked run.
    run = _import("wandb", package="wandb").init(
        project="anytime",
        name=recipe.name,
        id=_run_id(out),
        dir=str(out),
        config=_config(recipe),
        resume="allow",
    )
    return lambda step, scalars: run.log(scalars, step=step), run.finish


def _trackio(recipe: BrpoRecipe, out: Path, from_step: int) -> tuple[Write, Callable[[], object]]:
    trackio = _import("trackio", package="trackio")
    run = trackio.init(project="anytime", name=_run_id(out), config=_config(recipe), resume="allow")
    return lambda step, scalars: run.log(scalars, step=step), trackio.finish


_OPENERS = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}


def _run_id(out: Path) -> str:
    """An identifier of the run's folder, unique to its path."""
    return f"{out.name}-{hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:8]}"


def _config(recipe: BrpoRecipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json")


def _import(module: str, *, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise RecipeError(f"report_to: {package} is not installed: pip install {package}") from error


def _scalars(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            yield from _scalars({str(index): item for index, item in enumerate(value)}, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)
