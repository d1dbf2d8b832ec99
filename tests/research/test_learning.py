"""A series of runs from end to end: tuned, trained, resumed, evaluated and reported.

Dimensions: N problems, B budgets.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import learning
import numpy as np
import pytest
from series.held_out import pack_bits, unpack_bits
from series.runs import Run
from series.table import Series, environment_of, read_series
from series.tuning import learning_rate_of, score

RECIPE = """
kind = "brpo"
name = "tiny"
model = "demo-warmstart"
steps = 2
[rollout]
prompts = 2
group_size = 2
budgets = [8, 24]
[engine]
kind = "transformers"
[learner]
learning_rate = 1e-3
final_share = 0.5
[evaluation]
every_steps = 1
problems = 4
budgets = [8, 16, 24]
"""

SERIES = """
recipe = "tiny.toml"
record = "tiny.json"
seeds = [1]
problems = 12
[tuning]
learning_rates = [1e-4, 1e-5]
steps = 1
[rows]
"grpo" = { preset = "grpo", "learner.learning_rate" = 2e-4 }
"own-past" = { preset = "ar-uniform", "credit.baseline" = "v1_only", "rollout.answers_per_budget" = 2 }
"""


@pytest.fixture(name="series")
def fixture_series(tmp_path: Path) -> Series:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "pair.toml").write_text(SERIES)
    return read_series(str(tmp_path / "pair.toml"))


def test_a_row_is_a_preset_and_its_overrides(series: Series) -> None:
    run = Run(series=series, row="own-past", seed=7, learning_rate=3e-4, folder=Path("none"))
    recipe = run.recipe()
    assert (recipe.preset, recipe.credit.baseline, recipe.credit.prior) == (
        "ar-uniform",
        "v1_only",
        "uniform",
    )
    assert (recipe.rollout.answers_per_budget, recipe.seed, recipe.name) == (2, 7, "pair-own-past")
    # The learning rate is constant, whatever the recipe says.
    assert (recipe.learner.learning_rate, recipe.learner.final_share, recipe.steps) == (3e-4, 1, 2)


def test_keys_as_environment_variables() -> None:
    assert environment_of({"credit.leave_one_out": True, "rollout.budgets": [8, 24], "seed": 3}) == {
        "ANYTIME_TRAIN_CREDIT__LEAVE_ONE_OUT": "true",
        "ANYTIME_TRAIN_ROLLOUT__BUDGETS": "[8, 24]",
        "ANYTIME_TRAIN_SEED": "3",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("compare = [['grpo', 'none']]\n", "there is no row none"),
        ("seeds_ = [1]\n", "seeds_"),
        ("[rows.start]\npreset = 'grpo'\n", "no row can be named 'start'"),
        ("tuning.seed = 1\n", "is a seed of the series"),
    ],
)
def test_a_damaged_series_is_refused(tmp_path: Path, change: str, message: str) -> None:
    body = SERIES.replace("[tuning]\nlearning_rates = [1e-4, 1e-5]\nsteps = 1\n", "")
    text = body + change if change.startswith("[") else change + body
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(SystemExit, match=message):
        read_series(str(tmp_path / "bad.toml"))


def test_packed_bits_are_unpacked() -> None:
    right_NB = np.random.default_rng(0).random((13, 3)) < 0.5
    assert (unpack_bits(pack_bits(right_NB), 13, 3) == right_NB).all()


def test_the_second_half_of_a_short_run_chooses() -> None:
    curve = [{"step": step, "anytime": anytime} for step, anytime in ((0, 0.9), (2, 0.9), (3, 0.2), (4, 0.4))]
    assert score(curve) == pytest.approx(0.3)


def call(monkeypatch: pytest.MonkeyPatch, series: Series, what: str, *options: str) -> None:
    """Run the command; it must succeed."""
    path = str(series.folder / "pair.toml")
    out, results = str(series.folder / "runs"), str(series.folder / "results")
    arguments = ["learning.py", what, path, "--out", out, "--results", results, *options]
    monkeypatch.setattr(sys, "argv", arguments)
    status = None
    try:
        learning.main()
    except SystemExit as ended:
        status = ended.code
    assert not status


def test_a_series_from_end_to_end(
    series: Series, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, out = series.folder / "results", series.folder / "runs" / "pair"
    with pytest.raises(SystemExit, match="tune pair --rows own-past"):
        learning_rate_of(series, "own-past", results=results)
    call(monkeypatch, series, "tune", "--rows", "own-past")
    rates = json.loads((results / "learning" / "pair-rates.json").read_text())["rows"]["own-past"]
    tried = {one["learning_rate"]: one["score"] for one in rates["tried"]}
    assert tried.keys() == {1e-4, 1e-5}
    assert tried[rates["learning_rate"]] == max(tried.values())

    call(monkeypatch, series, "train")
    folder = results / "learning" / "pair"
    assert json.loads((folder / "grpo-1.json").read_text())["learning_rate"] == 2e-4
    record = json.loads((folder / "own-past-1.json").read_text())
    assert (record["row"], record["preset"], record["seed"], record["n"]) == ("own-past", "ar-uniform", 1, 12)
    assert record["learning_rate"] == rates["learning_rate"]
    assert record["recipe"]["credit"]["baseline"] == "v1_only"
    right_NB = unpack_bits(record["right_NB"], 12, 3)
    assert right_NB.mean(0).tolist() == pytest.approx(record["accuracy"], abs=1e-6)
    assert [line["step"] for line in record["validation"]] == [0, 1, 2]
    assert record["validation"][0]["seconds"] == 0 < record["validation"][2]["seconds"] == record["seconds"]
    assert record["rollout_tokens"] == record["validation"][2]["rollout_tokens"] > 0

    # Finished runs are neither trained nor evaluated again, even without their folders.
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    shutil.rmtree(out)
    call(monkeypatch, series, "train")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    assert not out.exists()

    (results / "predictions.json").write_text(json.dumps({"pair": {"anytime": ["grpo", "own-past"]}}))
    capsys.readouterr()
    call(monkeypatch, series, "report")
    report = json.loads((results / "tiny.json").read_text())
    assert [run["row"] for run in report["runs"]] == ["start", "grpo", "own-past"]
    assert {(line["a"], line["b"]) for line in report["comparisons"]} == {
        ("own-past", "grpo"),
        ("grpo", "start"),
        ("own-past", "start"),
    }
    assert report["predictions"]["anytime"]["predicted"] == ["grpo", "own-past"]
    assert "anytime, predicted: grpo < own-past" in capsys.readouterr().out
