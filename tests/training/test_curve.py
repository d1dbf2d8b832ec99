"""The anytime curve, and its place in a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anytime_server.reasoning import AccuracyPoint, Manifest
from anytime_training.curve import Curve, json_line, keep_curve, write_curve
from anytime_training.demo.chain.task import ChainTask

TEXTS: dict[str, Any] = {
    "think_start": "<think>",
    "think_end": "</think>",
    "truncation": "",
    "answer_lead_in": "",
}


def one_point() -> Curve:
    point = AccuracyPoint(budget=8, accuracy=0.5, low=0, high=1, n=9)
    return Curve(points=(point,), mean_thinking_tokens=(8.0,))


def test_anytime_is_the_mean_and_final_the_last() -> None:
    points = tuple(
        AccuracyPoint(budget=budget, accuracy=accuracy, low=0, high=1, n=1)
        for budget, accuracy in [(1, 0.2), (2, 0.4), (3, 0.9)]
    )
    curve = Curve(points=points, mean_thinking_tokens=(0.0, 0.0, 0.0))
    assert curve.anytime == pytest.approx(0.5)
    assert curve.final == 0.9


def test_the_curve_goes_into_the_manifest_and_changes_nothing_else(tmp_path: Path) -> None:
    """Even if it was measured at budgets without a weight in the prior."""
    manifest = Manifest(**TEXTS, budgets=[4, 8], prior=[0.5, 0.5], name="one")
    points = tuple(AccuracyPoint(budget=b, accuracy=0.5, low=0, high=1, n=9) for b in (0, 4, 16))
    write_curve(tmp_path, manifest, Curve(points=points, mean_thinking_tokens=(0.0, 4.0, 9.0)))
    assert Manifest.load(tmp_path) == manifest.model_copy(update={"accuracy_curve": list(points)})


def test_points_at_other_budgets_stay(tmp_path: Path) -> None:
    def point(budget: int, n: int) -> AccuracyPoint:
        return AccuracyPoint(budget=budget, accuracy=0.5, low=0, high=1, n=n)

    manifest = Manifest(**TEXTS, budgets=[4, 8], accuracy_curve=[point(4, 900), point(8, 900)])
    write_curve(tmp_path, manifest, Curve(points=(point(2, 9), point(8, 9)), mean_thinking_tokens=(2.0, 8.0)))
    found = Manifest.load(tmp_path)
    assert found is not None
    assert found.accuracy_curve == [point(2, 9), point(4, 900), point(8, 9)]


def test_curve_of_another_reasoning_format_is_not_kept(tmp_path: Path) -> None:
    own = Manifest(**TEXTS, name="one")
    own.save(tmp_path)
    point = AccuracyPoint(budget=8, accuracy=0.5, low=0, high=1, n=9)
    curve = Curve(points=(point,), mean_thinking_tokens=(8.0,))
    preset = own.model_copy(update={"truncation": "Time is up."})
    assert "is left as it is" in keep_curve(tmp_path, preset, curve, task=ChainTask(), name="one")
    assert Manifest.load(tmp_path) == own
    assert not (tmp_path / "accuracy.svg").exists()
    assert "measured earlier" not in keep_curve(tmp_path, own, curve, task=ChainTask(), name="one")
    found = Manifest.load(tmp_path)
    assert found is not None
    assert found.accuracy_curve == [point]
    assert (tmp_path / "accuracy.svg").exists()
    other = Curve(points=(point.model_copy(update={"budget": 9}),), mean_thinking_tokens=(9.0,))
    kept = keep_curve(tmp_path, found, other, task=ChainTask(), name="one")
    assert kept.endswith("with what was measured earlier at 8")


def test_a_manifest_without_budgets_gets_those_measured(tmp_path: Path) -> None:
    points = tuple(AccuracyPoint(budget=b, accuracy=0.5, low=0, high=1, n=9) for b in (0, 4, 16))
    write_curve(tmp_path, Manifest(**TEXTS), Curve(points=points, mean_thinking_tokens=(0.0, 4.0, 9.0)))
    found = Manifest.load(tmp_path)
    assert found is not None
    assert found.budgets == [4, 16]


@pytest.mark.parametrize(
    "task",
    [
        {"kind": "chain", "min_operands": 5},
        {"kind": "python", "entry": "own:Task"},
        {"kind": "of an older version"},
    ],
)
def test_a_curve_of_another_task_is_not_kept(tmp_path: Path, task: dict[str, Any]) -> None:
    own = Manifest(**TEXTS, task=task)
    own.save(tmp_path)
    assert "is left as it is: it names another task" in keep_curve(
        tmp_path, own, one_point(), task=ChainTask(), name="one"
    )
    assert Manifest.load(tmp_path) == own
    assert not (tmp_path / "accuracy.svg").exists()


def test_a_curve_of_its_own_task_is_kept_also_where_defaults_are_left_out(tmp_path: Path) -> None:
    own = Manifest(**TEXTS, task={"kind": "chain", "min_operands": 5})
    own.save(tmp_path)
    keep_curve(tmp_path, own, one_point(), task=ChainTask(min_operands=5, max_operands=12), name="one")
    found = Manifest.load(tmp_path)
    assert found is not None
    assert found.accuracy_curve == list(one_point().points)
    assert found.task == own.task


def test_a_checkpoint_that_names_no_task_gets_the_one_measured(tmp_path: Path) -> None:
    own = Manifest(**TEXTS)
    own.save(tmp_path)
    keep_curve(tmp_path, own, one_point(), task=ChainTask(min_operands=5), name="one")
    found = Manifest.load(tmp_path)
    assert found is not None
    assert found.task == ChainTask(min_operands=5).model_dump(mode="json")
    assert "another task" in keep_curve(tmp_path, found, one_point(), task=ChainTask(), name="one")


def test_json_line_has_the_promised_keys() -> None:
    point = AccuracyPoint(budget=8, accuracy=0.5, low=0.3, high=0.7, n=20)
    line = json_line(Curve(points=(point,), mean_thinking_tokens=(8.0,)), trained="warmstart")
    assert "\n" not in line
    assert json.loads(line) == {
        "budgets": [8],
        "accuracy": [0.5],
        "low": [0.3],
        "high": [0.7],
        "anytime": 0.5,
        "final": 0.5,
        "n": 20,
        "trained": "warmstart",
        "mean_thinking_tokens": [8.0],
    }
