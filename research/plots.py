"""Plots of `learning.py` and `variance.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

if TYPE_CHECKING:
    from learning import Run

SHOWN = ("warmstart", "grpo", "ar-base", "ar-linear", "ar-uniform")
"""Presets in the plot of accuracy over budget; the table has all presets."""
COLOURS = {
    "warmstart": "0.5",
    "grpo": "tab:red",
    "ar-base": "tab:green",
    "ar-linear": "tab:orange",
    "ar-uniform": "tab:blue",
}


def plot_learning(record: Mapping[str, Any], runs: Sequence[Run], path: Path) -> None:
    """Plot accuracy over budget after training, and anytime accuracy during it; bands span the seeds."""
    figure, (left, right) = _figure(2)
    for preset in SHOWN:
        rows = [row for row in record["runs"] if row["preset"] == preset]
        if rows:
            accuracy_SB = np.array([row["accuracy"] for row in rows])
            _band(left, rows[0]["budgets"], accuracy_SB, label=preset, colour=COLOURS[preset])
    left.set(xlabel="budget (thinking tokens)", ylabel="accuracy, held-out problems", ylim=(0, 1))
    for preset in SHOWN[1:]:
        curves = [run.lines("evaluations.jsonl") for run in runs if run.preset == preset and run.is_finished]
        if curves:
            ends = min(curve[-1]["rollout_tokens"] for curve in curves)
            tokens_E = np.linspace(0, ends, 41)
            anytime_SE = np.array(
                [
                    np.interp(
                        tokens_E,
                        [line["rollout_tokens"] for line in curve],
                        [line["anytime"] for line in curve],
                    )
                    for curve in curves
                ]
            )
            _band(right, tokens_E / 1e6, anytime_SE, label=preset, colour=COLOURS[preset], marker="")
    right.set(xlabel="sampled tokens (millions)", ylabel="anytime accuracy, validation")
    left.legend(loc="lower right", frameon=False)
    _save(figure, path)


def plot_variance(variance: Mapping[str, Sequence[float | None]], budgets: Sequence[int], path: Path) -> None:
    """Plot the share of the return's variance that remains with each baseline, at each budget."""
    figure, (axes,) = _figure(1)
    for name, label in (("v1", "V1: own past"), ("v2", "V2: group mean"), ("brpo", "BRPO: both")):
        values = [np.nan if value is None else value for value in variance[name]]
        axes.plot(range(len(budgets)), values, marker="o", label=label)
    axes.axhline(1, color="0.7", linewidth=1, zorder=0)
    axes.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
    axes.set(xlabel="budget (thinking tokens)", ylabel="Var[R − V] / Var[R]")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    _save(figure, path)


def _band(axes: Axes, x: Any, values_SX: np.ndarray, *, label: str, colour: str, marker: str = "o") -> None:
    axes.plot(x, values_SX.mean(0), marker=marker, markersize=4, label=label, color=colour)
    axes.fill_between(x, values_SX.min(0), values_SX.max(0), color=colour, alpha=0.15, linewidth=0)


def _figure(num_axes: int) -> tuple[Any, list[Axes]]:
    matplotlib.rcParams["svg.hashsalt"] = "anytime"  # the same record gives the same file
    figure, axes = plt.subplots(
        1, num_axes, figsize=(5.2 * num_axes, 3.6), layout="constrained", squeeze=False
    )
    for one in axes[0]:
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
