"""Comparisons of rows, by hand: which interval, over which runs.

Dimensions: S runs, N problems, B budgets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from anytime_training.interval import mean_t_interval, paired_t_interval, welch_t_interval
from series.compare import Row, compare, compare_at_equal, kendall, rows_of
from series.held_out import pack_bits


def row(name: str, rights: list[list[list[int]]], seeds: list[int], ends: int = 100) -> Row:
    curve = [
        {"rollout_tokens": 0, "seconds": 0.0, "anytime": 0.0, "final": 0.0},
        {"rollout_tokens": ends, "seconds": ends / 10, "anytime": 0.5, "final": 1.0},
    ]
    right_SNB = np.array(rights, dtype=float)
    return Row(name=name, seeds=seeds, budgets=[8, 16], right_SNB=right_SNB, curves=[curve] * len(seeds))


A = [[[1, 1], [0, 1]], [[1, 1], [1, 1]]]
B = [[[0, 1], [0, 0]], [[0, 1], [0, 1]]]


def metric(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(line for line in found if line["metric"] == name)


def test_rows_of_the_same_seeds_are_paired() -> None:
    # Anytime 3/4, 1 and 1/4, 1/2: differences 1/2, 1/2.
    found = metric(compare(row("a", A, [1, 2]), row("b", B, [1, 2])), "anytime")
    assert (found["difference"], found["ci_low"], found["ci_high"]) == (0.5, 0.5, 0.5)
    assert found["ci"] == "95% t interval over 2 pairs of runs of the same seed"
    assert (found["n"], found["seeds"]) == (2, [2, 2])
    final = metric(compare(row("a", A, [1, 2]), row("b", B, [1, 2])), "final")
    expected = paired_t_interval(np.array([1.0, 1.0]), np.array([0.5, 1.0]))
    assert (final["difference"], final["ci_low"], final["ci_high"]) == pytest.approx(expected, abs=1e-6)


def test_rows_of_other_seeds_get_welchs_interval() -> None:
    found = metric(compare(row("a", A, [1, 2]), row("b", B, [1, 3])), "anytime")
    expected = welch_t_interval(np.array([0.75, 1.0]), np.array([0.25, 0.5]))
    assert (found["difference"], found["ci_low"], found["ci_high"]) == pytest.approx(expected, abs=1e-6)
    assert found["ci"].startswith("95% Welch t interval over 2 and 2 seeds")


def test_the_start_is_one_checkpoint() -> None:
    found = metric(compare(row("a", A, [1, 2]), row("start", B[:1], [0])), "anytime")
    expected = mean_t_interval(np.array([0.5, 0.75]))
    assert (found["difference"], found["ci_low"], found["ci_high"]) == pytest.approx(expected, abs=1e-6)


def test_single_runs_have_no_interval_over_runs() -> None:
    found = metric(compare(row("a", A[:1], [1]), row("b", B[:1], [1])), "anytime")
    assert (found["difference"], found["ci_low"], found["ci_high"]) == (0.5, None, None)
    # Of the two problems one differs by 1/2 and one by 1/2.
    assert (found["problems_low"], found["problems_high"]) == (0.5, 0.5)


def test_equal_tokens_are_those_that_all_runs_reach() -> None:
    # At 100 tokens the longer run is half way: 0.25 of 0.5, and 0.5 of 1.
    found = compare_at_equal("rollout_tokens", row("a", A, [1, 2]), row("b", B, [1, 2], ends=200))
    assert {line["metric"]: line["difference"] for line in found} == {
        "validation anytime at equal rollout_tokens": 0.25,
        "validation final at equal rollout_tokens": 0.5,
    }
    assert found[0]["at"] == 100


def test_kendalls_tau() -> None:
    # Pairs: (a, b) right, (a, c) right, (b, c) wrong: (2 - 1) / 3.
    found = kendall(["a", "b", "absent", "c"], {"a": 0.1, "b": 0.3, "c": 0.2, "other": 1.0})
    assert found["observed"] == ["a", "c", "b"]
    assert found["kendall_tau"] == pytest.approx(1 / 3, abs=1e-6)
    assert kendall(["a", ["b", "c"]], {"a": 0.1, "b": 0.3, "c": 0.2})["kendall_tau"] == pytest.approx(
        2 / (2 * 3) ** 0.5, abs=1e-6
    )
    assert kendall(["a"], {"a": 0.1})["kendall_tau"] is None


def test_runs_of_other_problems_are_refused() -> None:
    bits = pack_bits(np.ones((2, 2)))
    record = {"row": "a", "seed": 1, "n": 2, "budgets": [8, 16], "right_NB": bits, "validation": []}
    assert rows_of([record, record | {"seed": 2}])["a"].right_SNB.shape == (2, 2, 2)
    with pytest.raises(SystemExit, match="b seed 1: evaluated on other problems"):
        rows_of([record, record | {"row": "b", "budgets": [8, 32]}])
