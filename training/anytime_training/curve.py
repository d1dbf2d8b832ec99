"""The anytime curve of a model, accuracy over budget: its text forms, and its place in a checkpoint.

Knows nothing about the measurement.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from anytime_server.reasoning import AccuracyPoint, Manifest
from anytime_server.reasoning.manifest import MANIFEST_NAME
from pydantic import TypeAdapter, ValidationError

from anytime_training.config.task import TaskSection


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The anytime curve of a model."""

    points: tuple[AccuracyPoint, ...]
    """One point for each budget, ascending."""
    mean_thinking_tokens: tuple[float, ...]
    """Mean number of thinking tokens at each budget."""

    @property
    def anytime(self) -> float:
        """Mean accuracy over the budgets."""
        return sum(point.accuracy for point in self.points) / len(self.points)

    @property
    def final(self) -> float:
        """Accuracy at the largest budget."""
        return self.points[-1].accuracy


def keep_curve(folder: Path, measured: Manifest, curve: Curve, *, task: TaskSection, name: str) -> str:
    """Write the curve into the checkpoint's manifest, and plot it beside the weights.

    The checkpoint is left as it is if its manifest has another reasoning format or another task than the
    measurement. A manifest without a task gets this task.

    Args:
        measured: the manifest that the measurement used.
        task: the measured task.
        name: the model's name in the plot.

    Returns:
        A message for the user.
    """
    from anytime_training.plot import plot_curves

    path, plot, own = folder / MANIFEST_NAME, folder / "accuracy.svg", Manifest.load(folder)
    if own is not None and own.texts != measured.texts:
        return f"{path} is left as it is: it names another reasoning format than --reasoning-preset"
    if measured.task is None:
        measured = measured.model_copy(update={"task": task.model_dump(mode="json")})
    elif not _is_same_task(measured.task, task):
        return f"{path} is left as it is: it names another task than --task"
    written = write_curve(folder, measured, curve).accuracy_curve
    plot_curves({name: written}, plot)
    older = [str(point.budget) for point in written if point not in curve.points]
    return f"the curve is in {path} and {plot}" + (
        f", with what was measured earlier at {', '.join(older)}" if older else ""
    )


def _is_same_task(written: dict[str, object], task: TaskSection) -> bool:
    try:
        # Validated first: a default that the manifest leaves out is no difference.
        own = TypeAdapter(TaskSection).validate_python(written)
    except ValidationError:
        return False
    return own.model_dump(mode="json") == task.model_dump(mode="json")


def write_curve(folder: Path, manifest: Manifest, curve: Curve) -> Manifest:
    """Write the curve into the checkpoint's manifest; it replaces older points at the same budgets.

    The manifest keeps its budgets, if it has any.
    """
    points = {point.budget: point for point in [*manifest.accuracy_curve, *curve.points]}
    budgets = manifest.budgets or [point.budget for point in curve.points if point.budget]
    update = {"budgets": budgets, "accuracy_curve": [points[budget] for budget in sorted(points)]}
    written = manifest.model_copy(update=update)
    written.save(folder)
    return written


def json_line(curve: Curve, *, trained: str | None) -> str:
    """The curve as one line of JSON, for programs.

    Args:
        trained: last stage of the model's training.
    """
    points = curve.points
    return json.dumps(
        {
            "budgets": [point.budget for point in points],
            "accuracy": [point.accuracy for point in points],
            "low": [point.low for point in points],
            "high": [point.high for point in points],
            "anytime": curve.anytime,
            "final": curve.final,
            "n": points[0].n,
            "trained": trained,
            "mean_thinking_tokens": list(curve.mean_thinking_tokens),
        }
    )


def table(curve: Curve) -> str:
    """The curve as lines, for people."""
    rows = [
        f"{point.budget:6}  {point.accuracy:8.3f}  [{point.low:.3f}, {point.high:.3f}]  {used:15.1f}"
        for point, used in zip(curve.points, curve.mean_thinking_tokens, strict=True)
    ]
    return "\n".join(
        [
            "budget  accuracy  95% interval    thinking tokens",
            *rows,
            f"anytime (mean) {curve.anytime:.3f}, final {curve.final:.3f}, {curve.points[0].n} problems",
        ]
    )
