"""Comparisons of rows, each with the interval that answers its question.

Two intervals of 95%, named for what they cover: a t interval over runs covers the randomness of training (and
of sampling answers), on these problems; a paired bootstrap over problems covers the choice of problems, with
these runs. Rows with the same seeds are compared in pairs: a step's problems, and the seeds of its sampling,
follow from the run's seed and the step's number, so that runs of one seed share them. Other rows get Welch's
interval.

Dimensions: S runs of a row, N problems, B budgets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from anytime_training.interval import mean_t_interval, paired_bootstrap, paired_t_interval, welch_t_interval

from series.held_out import unpack_bits
from series.table import START

AXES = ("rollout_tokens", "seconds")
"""Axes, beside steps, at whose equal values validation accuracy is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The runs of a row, by seed."""

    name: str
    seeds: list[int]
    budgets: list[int]
    right_SNB: np.ndarray
    """1 where the answer is right, else 0."""
    curves: list[list[dict[str, Any]]]
    """Validation accuracy of each run over its steps."""


def rows_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
    """The rows of runs' files.

    Raises:
        SystemExit: runs of other problems or budgets than the first.
    """
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if (record["n"], record["budgets"]) != (records[0]["n"], records[0]["budgets"]):
            raise SystemExit(f"{record['row']} seed {record['seed']}: evaluated on other problems or budgets")
        grouped.setdefault(record["row"], []).append(record)
    return {
        name: Row(
            name=name,
            seeds=[record["seed"] for record in own],
            budgets=own[0]["budgets"],
            right_SNB=np.stack([unpack_bits(one["right_NB"], one["n"], len(one["budgets"])) for one in own]),
            curves=[record["validation"] for record in own],
        )
        for name, own in grouped.items()
    }


def metrics(budgets: Sequence[int]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The compared metrics: each maps right_SNB to results_SN."""

    def at(index: int, right_SNB: np.ndarray) -> np.ndarray:
        return right_SNB[..., index]

    at_each = {f"accuracy@{budget}": partial(at, index) for index, budget in enumerate(budgets)}
    return {"anytime": lambda right_SNB: right_SNB.mean(-1), "final": partial(at, -1), **at_each}


def over_runs(a_S: np.ndarray, b_S: np.ndarray, a: Row, b: Row) -> dict[str, Any]:
    """Difference of two rows with its t interval over runs."""
    if START in (a.name, b.name):
        # The start is one checkpoint, not one of several runs.
        centre, low, high = mean_t_interval(a_S - b_S)
        kind = f"95% t interval over {max(len(a_S), len(b_S))} seeds"
    elif a.seeds == b.seeds:
        centre, low, high = paired_t_interval(a_S, b_S)
        kind = f"95% t interval over {len(a_S)} pairs of runs of the same seed"
    else:
        centre, low, high = welch_t_interval(a_S, b_S)
        kind = f"95% Welch t interval over {len(a_S)} and {len(b_S)} seeds"
    return {"difference": _rounded(centre), "ci_low": _rounded(low), "ci_high": _rounded(high), "ci": kind}


def compare(a: Row, b: Row) -> list[dict[str, Any]]:
    """All comparisons of two rows on the held-out problems, after the same number of steps."""
    found: list[dict[str, Any]] = []
    for metric, pick in metrics(a.budgets).items():
        a_SN, b_SN = pick(a.right_SNB), pick(b.right_SNB)
        _, low, high = paired_bootstrap(a_SN, b_SN, seed=0)
        found.append(
            {
                "a": a.name,
                "b": b.name,
                "metric": metric,
                **over_runs(a_SN.mean(1), b_SN.mean(1), a, b),
                "problems_low": _rounded(low),
                "problems_high": _rounded(high),
                "problems_ci": "95% paired bootstrap over problems, of these runs",
                "n": a_SN.shape[1],
                "seeds": [len(a_SN), len(b_SN)],
            }
        )
    return found


def compare_at_equal(axis: str, a: Row, b: Row) -> list[dict[str, Any]]:
    """Validation accuracy of two rows at the largest value of an axis that all their runs reach."""
    ends = min(curve[-1][axis] for curve in [*a.curves, *b.curves])
    found: list[dict[str, Any]] = []
    for metric in ("anytime", "final"):
        a_S, b_S = (
            np.array(
                [
                    np.interp(ends, [line[axis] for line in curve], [line[metric] for line in curve])
                    for curve in row.curves
                ]
            )
            for row in (a, b)
        )
        found.append(
            {
                "a": a.name,
                "b": b.name,
                "metric": f"validation {metric} at equal {axis}",
                "at": ends,
                **over_runs(a_S, b_S, a, b),
                "seeds": [len(a_S), len(b_S)],
            }
        )
    return found


def kendall(predicted: Sequence[str | Sequence[str]], observed: Mapping[str, float]) -> dict[str, Any]:
    """Kendall's tau-b between a predicted order and observed values.

    Args:
        predicted: rows from the worst to the best; rows in a list of their own are predicted to be equal.
        observed: value of each row; predicted rows without one are left out.

    Returns:
        Both orders from the worst to the best, and tau: 1 for the same order, -1 for the reverse; None for
        fewer than two rows.
    """
    from scipy.stats import kendalltau

    groups = [[group] if isinstance(group, str) else [*group] for group in predicted]
    ranks = {row: rank for rank, group in enumerate(groups) for row in group if row in observed}
    tau = math.nan
    if len(set(ranks.values())) > 1:
        found: Any = kendalltau(list(ranks.values()), [observed[row] for row in ranks])
        tau = float(found.statistic)
    return {
        "predicted": list(predicted),
        "observed": sorted(ranks, key=lambda row: observed[row]),
        "kendall_tau": _rounded(tau),
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
