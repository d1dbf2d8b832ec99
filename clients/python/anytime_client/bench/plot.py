"""A plot of the cumulative distribution of each latency. Needs matplotlib, which the base install lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from anytime_client.bench.outcomes import Outcome
from anytime_client.bench.report import times_of
from anytime_client.bench.table import TIMES


def draw(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Draw, for every kind of latency, the share of its values that are at most x milliseconds."""
    ok = [outcome for outcome in outcomes if outcome.verdict == "ok"]
    figure: Any = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, label in TIMES.items():
        if values := sorted(value * 1000 for value in times_of(ok, name)):
            shares = [(rank + 1) / len(values) for rank in range(len(values))]
            axes.step(values, shares, where="post", label=label)
    axes.set(xlabel="milliseconds", ylabel="cumulative share", xscale="log", ylim=(0, 1))
    axes.grid(alpha=0.3)
    if ok:
        axes.legend()
    figure.savefig(path)
