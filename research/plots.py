"""Plots of `learning.py`, `gate.py` and `signal_to_noise.py`.

Dimensions: S runs of a row, B budgets, E evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from anytime_training.interval import mean_t_interval
from matplotlib.axes import Axes

COLOURS = [f"C{number}" for number in range(10)]


def plot_learning(
    record: Mapping[str, Any],
    curves: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    path: Path,
    *,
    shown: Sequence[str] = (),
) -> None:
    """Plot accuracy over budget after training, and anytime accuracy over steps.

    Lines are means of the runs, bands 95% t intervals over seeds.

    Args:
        record: the report of a series.
        curves: validation curves of each row's runs.
        shown: rows in the plot; all by default.
    """
    figure, (left, right) = _figure(2)
    rows = shown or [row["row"] for row in record["rows"]]
    for number, row in enumerate(rows):
        colour = COLOURS[number % len(COLOURS)]
        own = [run for run in record["runs"] if run["row"] == row]
        if not own:
            continue
        accuracy_SB = np.array([run["accuracy"] for run in own])
        _band(left, own[0]["budgets"], accuracy_SB, label=row, colour=colour)
        if curves.get(row):
            steps_E, anytime_SE = _common_steps(curves[row])
            _band(right, steps_E, anytime_SE, label=row, colour=colour, marker="")
    left.set(xlabel="budget (thinking tokens)", ylabel="accuracy, held-out problems", ylim=(0, 1))
    right.set(xlabel="steps", ylabel="anytime accuracy, validation")
    left.legend(loc="lower right", frameon=False)
    _save(figure, path)


def _common_steps(runs: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[list[int], np.ndarray]:
    """Steps at which all runs were evaluated, and their anytime accuracy: anytime_SE."""
    by_step = [{line["step"]: line["anytime"] for line in run} for run in runs]
    steps_E = sorted(set.intersection(*(set(run) for run in by_step)))
    return steps_E, np.array([[run[step] for step in steps_E] for run in by_step])


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


def plot_signal(record: Mapping[str, Any], path: Path) -> None:
    """Plot signal over noise of each baseline, and its noise relative to V2's: of all tokens, by segment."""
    figure, (left, right) = _figure(2)
    segments: Mapping[str, Mapping[str, Any]] = record["thinking"]
    baselines = list(next(iter(segments.values())))
    for number, baseline in enumerate(baselines):
        shift = (number - (len(baselines) - 1) / 2) * 0.8 / len(baselines)
        for axes, key in ((left, "signal_to_noise"), (right, "relative_trace")):
            found = [segments[segment][baseline].get(key) for segment in segments]
            ends = [
                [np.nan if one is None or one[end] is None else one[end] for one in found]
                for end in ("value", "low", "high")
            ]
            value, low, high = map(np.array, ends)
            axes.errorbar(
                np.arange(len(segments)) + shift,
                value,
                yerr=np.stack([value - low, high - value]),
                fmt="o",
                markersize=4,
                color=COLOURS[number % len(COLOURS)],
                label=baseline,
            )
    for axes in (left, right):
        axes.set_xticks(range(len(segments)), list(segments))
        axes.set(xlabel="segment, by its budget")
    left.set(ylabel="|E g|² / tr Cov g, of a prompt's gradient g")
    right.set(ylabel="tr Cov g, relative to V2's", yscale="log")
    left.legend(frameon=False)
    _save(figure, path)


def _band(axes: Axes, x: Any, values_SX: np.ndarray, *, label: str, colour: str, marker: str = "o") -> None:
    mean_X, low_X, high_X = np.array([mean_t_interval(values_S) for values_S in values_SX.T]).T
    axes.plot(x, mean_X, marker=marker, markersize=4, label=label, color=colour)
    axes.fill_between(x, low_X, high_X, color=colour, alpha=0.15, linewidth=0)


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
