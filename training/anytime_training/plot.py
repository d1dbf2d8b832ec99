"""Plots of accuracy over budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from anytime_server.reasoning import AccuracyPoint


def plot_curves(curves: Mapping[str, Sequence[AccuracyPoint]], path: Path) -> None:
    """Accuracy over budget, with the intervals, for one model or several.

    Args:
        curves: points with ascending budgets, by the model's name.
        path: file to write; its suffix selects the format.
    """
    matplotlib.rcParams["svg.hashsalt"] = "anytime"  # for reproducible files
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, points in curves.items():
        budgets = [point.budget for point in points]
        (line,) = axes.plot(budgets, [point.accuracy for point in points], marker="o", label=name)
        axes.fill_between(
            budgets,
            [point.low for point in points],
            [point.high for point in points],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    axes.set_xlabel("budget (thinking tokens)")
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    axes.set_xticks(sorted({point.budget for points in curves.values() for point in points}))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, metadata=metadata)
    plt.close(figure)
