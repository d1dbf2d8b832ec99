"""The anytime curve, on engines whose answers are known."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.errors import AnytimeError
from anytime_server.reasoning import AccuracyPoint, Manifest
from anytime_training.errors import RecipeError
from anytime_training.evaluate import Curve, keep_curve, main, measure, task_of, write_curve
from anytime_training.interval import wilson_interval
from anytime_training.tasks import ChainTask, Problem, Split

TEXTS: dict[str, Any] = {
    "think_start": "<think>",
    "think_end": "</think>",
    "truncation": "",
    "answer_lead_in": "",
}


class FixedTask:
    """Every other problem has the answer that the scripted engine gives."""

    def __init__(self) -> None:
        self.splits: list[str] = []
        self.count = 0

    def sample(self, rng: random.Random, split: Split = "train") -> Problem:
        self.splits.append(split)
        self.count += 1
        return Problem(
            content=str(self.count), prompt=f"{rng.random()}", answer="42" if self.count % 2 else "7"
        )

    def grade(self, problem: Problem, answer_text: str) -> bool:
        return problem.answer == answer_text


@pytest.mark.parametrize(
    ("num_right", "num_tried", "low", "high"),
    [
        (5, 10, 0.2366, 0.7634),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),  # the same
    ],
)
def test_wilson_interval(num_right: int, num_tried: int, low: float, high: float) -> None:
    assert wilson_interval(num_right, num_tried) == pytest.approx((low, high), abs=5e-5)


async def test_measures_every_problem_at_every_budget(service: Callable[..., Any]) -> None:
    one = await service(never_end=True)
    task = FixedTask()
    answers = 0

    def count() -> None:
        nonlocal answers
        answers += 1

    curve = await measure(one, task, budgets=[2, 5, 9], num_problems=10, seed=3, on_answer=count)
    assert answers == 30
    assert set(task.splits) == {"test"}
    assert task.count == 10
    assert [point.budget for point in curve.points] == [2, 5, 9]
    assert [point.accuracy for point in curve.points] == [0.5] * 3
    assert (curve.points[0].low, curve.points[0].high) == wilson_interval(5, 10)
    assert curve.points[0].n == 10
    assert curve.mean_thinking_tokens == (2.0, 5.0, 9.0)


async def test_a_failed_session_is_no_wrong_answer(service: Callable[..., Any]) -> None:
    one = await service(never_end=True, die_after_tokens=30)
    with pytest.raises(AnytimeError):
        await measure(one, FixedTask(), budgets=[4], num_problems=20, seed=0)


def test_anytime_is_the_mean_and_final_the_last() -> None:
    points = tuple(
        AccuracyPoint(budget=budget, accuracy=accuracy, low=0, high=1, n=1)
        for budget, accuracy in [(1, 0.2), (2, 0.4), (3, 0.9)]
    )
    curve = Curve(points=points, mean_thinking_tokens=(0.0, 0.0, 0.0))
    assert curve.anytime == pytest.approx(0.5)
    assert curve.final == 0.9


def test_the_curve_goes_into_the_manifest_and_changes_nothing_else(tmp_path: Path) -> None:
    """Also where it was measured at other budgets than those with a weight in the prior."""
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


def test_a_curve_measured_with_another_way_to_think_is_not_kept(tmp_path: Path) -> None:
    own = Manifest(**TEXTS, name="one")
    own.save(tmp_path)
    point = AccuracyPoint(budget=8, accuracy=0.5, low=0, high=1, n=9)
    curve = Curve(points=(point,), mean_thinking_tokens=(8.0,))
    preset = own.model_copy(update={"truncation": "Time is up."})
    assert "is left as it is" in keep_curve(tmp_path, preset, curve, name="one")
    assert Manifest.load(tmp_path) == own
    assert not (tmp_path / "accuracy.svg").exists()
    assert "measured earlier" not in keep_curve(tmp_path, own, curve, name="one")
    found = Manifest.load(tmp_path)
    assert found is not None
    assert found.accuracy_curve == [point]
    assert (tmp_path / "accuracy.svg").exists()
    other = Curve(points=(point.model_copy(update={"budget": 9}),), mean_thinking_tokens=(9.0,))
    assert keep_curve(tmp_path, found, other, name="one").endswith("with what was measured earlier at 8")


def test_a_manifest_without_budgets_gets_those_measured(tmp_path: Path) -> None:
    points = tuple(AccuracyPoint(budget=b, accuracy=0.5, low=0, high=1, n=9) for b in (0, 4, 16))
    write_curve(tmp_path, Manifest(**TEXTS), Curve(points=points, mean_thinking_tokens=(0.0, 4.0, 9.0)))
    found = Manifest.load(tmp_path)
    assert found is not None
    assert found.budgets == [4, 16]


@pytest.mark.parametrize(
    "argv",
    [
        ["/nowhere"],
        ["--problems", "0"],
        ["--problems", "many"],
        ["--seed", "-1"],
        ["--seed", "99999999999999999999"],
        ["--budgets", "x"],
        ["--budgets", "-3"],
        ["--budgets", ""],
        ["--plot", "curve.txt"],
        ["--plot", "/nowhere/curve.svg"],
        ["--nope"],
    ],
)
def test_bad_options_end_at_once(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: Any = main(argv)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    complaint = capsys.readouterr().err
    assert argv[0] in complaint
    assert "invalid _" not in complaint


def test_json_line_has_the_promised_keys() -> None:
    from anytime_training.evaluate import _json

    point = AccuracyPoint(budget=8, accuracy=0.5, low=0.3, high=0.7, n=20)
    line = _json(Curve(points=(point,), mean_thinking_tokens=(8.0,)), "warmstart")
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


def test_the_task_is_the_recipes_or_else_the_checkpoints(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'kind = "brpo"\nname = "x"\nmodel = "demo"\nsteps = 1\n[rollout]\nbudgets = [8]\n'
        '[task]\nkind = "chain"\nmin_operands = 5\n'
    )
    own = Manifest(**TEXTS, task={"kind": "chain", "min_operands": 7})
    assert task_of(None, own, folder=tmp_path) == ChainTask(min_operands=7)
    assert task_of(recipe, own, folder=tmp_path) == ChainTask(min_operands=5)
    with pytest.raises(AnytimeError, match="does not say what it was trained on; give --task"):
        task_of(None, Manifest(**TEXTS), folder=tmp_path)
    with pytest.raises(AnytimeError, match=r"anytime\.json: task: "):
        task_of(None, Manifest(**TEXTS, task={"kind": "riddle"}), folder=tmp_path)
    with pytest.raises(RecipeError, match="missing"):
        task_of(tmp_path / "missing.toml", own, folder=tmp_path)
