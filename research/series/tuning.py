"""The learning rate of each row: chosen by short runs, on the validation split alone.

One rule for every row: the highest anytime accuracy, the mean over budgets, averaged over the evaluations in
the second half of the short run. It is the metric that rows are compared by, so that each row, also one that
trains for the largest budget alone, gets the learning rate that serves it best in the comparison.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recording import RESULTS, write_record

from series.held_out import validation_curve
from series.runs import Run, in_parallel, train
from series.table import Series


def rates_path(series: Series, *, results: Path = RESULTS) -> Path:
    """The file of the chosen learning rates."""
    return results / "learning" / f"{series.name}-rates.json"


def tune(series: Series, rows: Sequence[str], *, out: Path, workers: int, results: Path = RESULTS) -> bool:
    """Train the short runs of rows, and write the learning rates that they choose. Whether all went well."""
    runs = [
        Run(
            series=series,
            row=row,
            seed=series.tuning.seed,
            learning_rate=rate,
            steps=series.tuning.steps,
            folder=out / f"tune-{row}-{rate:g}",
        )
        for row in rows
        for rate in series.tuning.learning_rates
    ]
    if not runs:
        raise SystemExit(f"{series.name}: tuning.learning_rates is empty")
    went_well = in_parallel(
        runs, train, workers=workers, name=lambda run: f"tune {run.row} {run.learning_rate:g}"
    )
    path = rates_path(series, results=results)
    chosen = read_rates(series, results=results)
    for row in rows:
        own = [run for run in runs if run.row == row]
        if all(run.is_trained() for run in own):
            chosen[row] = choose(series, own)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, {"seed": series.tuning.seed, "steps": series.tuning.steps, "rows": chosen})
    return went_well


def choose(series: Series, runs: Sequence[Run]) -> dict[str, Any]:
    """The best learning rate of a row, and the score of each that was tried."""
    tried: dict[float, float] = {}
    for run in runs:
        assert run.learning_rate is not None
        tried[run.learning_rate] = score(validation_curve(run))
    best = max(tried, key=lambda rate: tried[rate])
    if best in (min(tried), max(tried)) and len(tried) > 1:
        end = "largest" if best == max(tried) else "smallest"
        print(f"{series.name} {runs[0].row}: the best learning rate, {best:g}, is the {end} that was tried")
    return {
        "learning_rate": best,
        "tried": [{"learning_rate": rate, "score": round(found, 5)} for rate, found in tried.items()],
    }


def score(curve: Sequence[dict[str, Any]]) -> float:
    """Mean anytime accuracy of the evaluations in the second half of a run."""
    late = [line["anytime"] for line in curve if 2 * line["step"] > curve[-1]["step"]]
    return sum(late) / len(late)


def read_rates(series: Series, *, results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The chosen learning rates so far, by row."""
    path = rates_path(series, results=results)
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else {}


def learning_rate_of(series: Series, row: str, *, results: Path = RESULTS) -> float | None:
    """The row's learning rate: its own key, or the one that tuning chose; None for the recipe's.

    Raises:
        SystemExit: the series tunes its learning rates, but the row's is not chosen yet.
    """
    if "learner.learning_rate" in series.rows[row]:
        return float(series.rows[row]["learner.learning_rate"])
    if not series.tuning.learning_rates:
        return None
    rates = read_rates(series, results=results)
    if row not in rates:
        raise SystemExit(f"{series.name} {row}: run `learning.py tune {series.name} --rows {row}` first")
    return rates[row]["learning_rate"]
