"""The report of a series, from the files of its runs alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anytime_training.interval import mean_t_interval
from recording import RESULTS

from series.compare import AXES, Row, compare, compare_at_equal, kendall, metrics, rows_of
from series.held_out import read_run_records
from series.table import START, Series

PREDICTIONS = "predictions.json"
"""Predicted orders, written before the runs: {series: {metric: [rows from the worst to the best]}}."""
RUN_KEYS = (
    "row",
    "preset",
    "seed",
    "learning_rate",
    "budgets",
    "accuracy",
    "anytime",
    "final",
    "steps",
    "rollout_tokens",
    "seconds",
    "commit",
    "checkpoint_sha256",
)
"""Keys of a run's file that the report repeats."""


def report(series: Series, *, results: Path = RESULTS) -> dict[str, Any]:
    """Rows, runs, comparisons and predictions.

    Raises:
        SystemExit: there are no runs.
    """
    records = read_run_records(series, results=results)
    if not records:
        raise SystemExit(f"{series.name}: no run is finished")
    rows = rows_of(records)
    comparisons: list[dict[str, Any]] = []
    for a, b in _pairs(series, rows):
        comparisons += compare(rows[a], rows[b])
        if START not in (a, b):
            comparisons += [line for axis in AXES for line in compare_at_equal(axis, rows[a], rows[b])]
    return {
        "series": series.name,
        "n": records[0]["n"],
        "rows": [_summary(row, [one for one in records if one["row"] == row.name]) for row in rows.values()],
        "runs": [{key: record[key] for key in RUN_KEYS} for record in records],
        "comparisons": comparisons,
        "predictions": _predictions(series, rows, results / PREDICTIONS),
    }


def curves(series: Series, *, results: Path = RESULTS) -> dict[str, list[list[dict[str, Any]]]]:
    """Validation curves of each row's runs."""
    rows = rows_of(read_run_records(series, results=results))
    return {name: row.curves for name, row in rows.items() if name != START}


def _pairs(series: Series, rows: Mapping[str, Row]) -> list[tuple[str, str]]:
    """Each row with the reference and with the start, then the series' own pairs."""
    trained = [row for row in rows if row != START]
    pairs = [(row, series.reference) for row in trained if row != series.reference]
    pairs += [(row, START) for row in trained]
    pairs += series.compare
    return [(a, b) for a, b in dict.fromkeys(pairs) if a in rows and b in rows]


def _summary(row: Row, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each metric over a row's runs, with its t interval over seeds."""
    found: dict[str, Any] = {
        "row": row.name,
        "seeds": row.seeds,
        "learning_rate": records[0]["learning_rate"],
        "rollout_tokens": round(sum(record["rollout_tokens"] for record in records) / len(records)),
        "seconds": round(sum(record["seconds"] for record in records) / len(records)),
    }
    for metric, pick in metrics(row.budgets).items():
        centre, low, high = mean_t_interval(pick(row.right_SNB).mean(1))
        is_known = low == low
        found[metric] = {
            "mean": round(centre, 6),
            "ci_low": round(low, 6) if is_known else None,
            "ci_high": round(high, 6) if is_known else None,
        }
    return found


def _predictions(series: Series, rows: Mapping[str, Row], path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    predicted = json.loads(path.read_text(encoding="utf-8")).get(series.name, {})
    picks = metrics(next(iter(rows.values())).budgets)
    return {
        metric: kendall(
            order, {name: float(picks[metric](row.right_SNB).mean()) for name, row in rows.items()}
        )
        for metric, order in predicted.items()
    }


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """The report's main figures, for people."""
    yield f"{'row':16} seeds  {'anytime':>24}  {'final':>24}   tokens  seconds"
    for row in record["rows"]:
        yield (
            f"{row['row']:16} {len(row['seeds']):5}  {_shown(row['anytime'], 'mean'):>24}  "
            f"{_shown(row['final'], 'mean'):>24}  {row['rollout_tokens']:7}  {row['seconds']:7}"
        )
    for line in record["comparisons"]:
        if line["metric"].endswith(("anytime", "final")) or line["metric"].startswith("validation anytime"):
            over_problems = (
                f"; problems [{line['problems_low']:+.3f}, {line['problems_high']:+.3f}]"
                if "problems_low" in line
                else ""
            )
            yield (
                f"{line['a']} - {line['b']}, {line['metric']}: {_shown(line, 'difference', '+')} "
                f"({line['ci']}){over_problems}"
            )
    for metric, found in record["predictions"].items():
        yield f"{metric}, predicted: {' < '.join(map(str, found['predicted']))}"
        yield f"{metric}, observed:  {' < '.join(found['observed'])}; Kendall's tau {found['kendall_tau']}"


def _shown(values: Mapping[str, Any], key: str, sign: str = "") -> str:
    ends = (values["ci_low"], values["ci_high"])
    interval = "" if None in ends else f" [{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]"
    return f"{values[key]:{sign}.3f}{interval}"
