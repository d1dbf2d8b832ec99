"""Datasets on disk: splits, answers and errors."""

import contextlib
import json
import random
import re
from pathlib import Path
from typing import Any, get_args

import pyarrow
import pytest
from anytime_training.errors import RecipeError
from anytime_training.tasks import DatasetTask, Problem, Split
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

SPLITS: tuple[Split, ...] = get_args(Split)
NUMBERED = [{"prompt": f"What is {number}?", "answer": number} for number in range(400)]


def save(rows: list[Any], path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def contents(task: DatasetTask) -> dict[Split, list[str]]:
    parts: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        with contextlib.suppress(RecipeError):  # a split of a small file may be empty
            parts[split] = [problem.content for problem in task.problems(split)]
    return parts


def test_every_row_is_in_one_split_in_the_requested_shares(tmp_path: Path) -> None:
    task = DatasetTask(path=save(NUMBERED, tmp_path / "rows.jsonl"), validation_share=0.2, test_share=0.3)
    parts = contents(task)
    assert sorted([content for part in parts.values() for content in part]) == sorted(
        row["prompt"] for row in NUMBERED
    )
    assert 50 < len(parts["validation"]) < 110
    assert 90 < len(parts["test"]) < 150
    rng = random.Random(0)
    for split in SPLITS:
        assert {task.sample(rng, split).content for _ in range(50)} <= set(parts[split])


@settings(max_examples=20, deadline=None)
@given(st.permutations(NUMBERED[:40]), st.booleans())
def test_splits_depend_on_the_question_alone(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], as_parquet: bool
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    first = contents(DatasetTask(path=save(NUMBERED[:40], folder / "one.jsonl"), test_share=0.4))
    other = folder / "other.parquet"
    if as_parquet:
        parquet.write_table(pyarrow.Table.from_pylist(rows), other)
    else:
        other = save([row | {"answer": "another"} for row in rows], folder / "other.jsonl")
    task = DatasetTask(path=other, test_share=0.4, prompt_template="Think. {prompt}")
    assert {split: sorted(part) for split, part in contents(task).items()} == {
        split: sorted(part) for split, part in first.items()
    }


def test_a_file_of_its_own_for_the_test_split_keeps_its_problems_out_of_training(tmp_path: Path) -> None:
    task = DatasetTask(
        path=save(NUMBERED, tmp_path / "rows.jsonl"),
        test_path=save(NUMBERED[:30], tmp_path / "test.jsonl"),
        validation_share=0.1,
    )
    parts = contents(task)
    assert parts["test"] == [row["prompt"] for row in NUMBERED[:30]]
    assert sorted([content for part in parts.values() for content in part]) == sorted(
        row["prompt"] for row in NUMBERED
    )
    assert 20 < len(parts["validation"]) < 60


def test_the_template_goes_around_the_question(tmp_path: Path) -> None:
    path = save([{"q": "Is {it}?", "solution": "5"}], tmp_path / "rows.jsonl")
    task = DatasetTask(
        path=path,
        prompt_column="q",
        answer_column="solution",
        prompt_template=r"{prompt} Put it in \boxed{}.",
        test_share=0,
        validation_share=0,
    )
    assert task.problems("train") == [
        Problem(content="Is {it}?", prompt=r"Is {it}? Put it in \boxed{}.", answer="5")
    ]


@pytest.mark.parametrize(
    ("given", "text"), [(5, "5"), (-5.0, "-5"), (0.25, "0.25"), (" 5\n", "5"), (10**30, "1" + "0" * 30)]
)
def test_answers_may_be_numbers(tmp_path: Path, given: Any, text: str) -> None:
    path = save([{"prompt": "?", "answer": given}], tmp_path / "rows.jsonl")
    task = DatasetTask(path=path, test_share=0, validation_share=0)
    assert task.sample(random.Random(0)).answer == text


def test_file_is_read_once_at_the_first_draw(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    task = DatasetTask(path=path)
    save(NUMBERED, path)
    drawn = task.sample(random.Random(3))
    path.unlink()
    assert task.sample(random.Random(3)) == drawn
    assert task == DatasetTask(path=path)


def test_copy_reads_its_own_file(tmp_path: Path) -> None:
    task = DatasetTask(path=save(NUMBERED, tmp_path / "rows.jsonl"), test_share=0, validation_share=0)
    assert len(task.problems("train")) == 400
    other = save(NUMBERED[:7], tmp_path / "other.jsonl")
    assert len(task.model_copy(update={"path": other}).problems("train")) == 7
    assert len(task.problems("train")) == 400


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([], "{path} is empty"),
        ([{"prompt": "?"}], "{path}, line 1: no column 'answer'; there is 'prompt'"),
        (
            [{"prompt": "?", "answer": 1}, {"prompt": 2, "answer": 1}],
            "{path}, line 2: column 'prompt' must be",
        ),
        (
            [{"prompt": "?", "answer": None}],
            "line 1: column 'answer' must be text or a number; it is missing",
        ),
        ([{"prompt": "?", "answer": True}], "column 'answer' must be text or a number; it is bool True"),
        ([{"prompt": "?", "answer": float("nan")}], "it is float nan"),
        ([{"prompt": "?", "answer": ["5"]}], "it is list ['5']"),
        ([{"prompt": " ", "answer": "5"}], "{path}, line 1: column 'prompt' is blank"),
        ([{"prompt": "?", "answer": ""}], "{path}, line 1: column 'answer' is blank"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, rows: list[Any], fault: str) -> None:
    path = save(rows, tmp_path / "rows.jsonl")
    with pytest.raises(RecipeError, match=re.escape("task.path: ")) as refusal:
        DatasetTask(path=path).sample(random.Random(0))
    assert fault.format(path=path) in str(refusal.value)


def test_a_split_without_rows_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = save(NUMBERED[:5], tmp_path / "rows.jsonl")
    task = DatasetTask(path=path, validation_share=0)
    with pytest.raises(
        RecipeError, match=r"task\.path: no row of .*rows\.jsonl falls in the validation split"
    ):
        task.sample(random.Random(0), "validation")
    with pytest.raises(RecipeError, match=r"task\.test_path: .*none\.jsonl does not exist"):
        DatasetTask(path=path, test_path=tmp_path / "none.jsonl").sample(random.Random(0))


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"prompt_template": "Go!"}, "must have {prompt}"),
        ({"test_share": 0.1, "test_path": "b"}, "test_share and test_path exclude each other"),
        ({"test_share": 0.6, "validation_share": 0.6}, "must not be above 1 together"),
        ({"timeout_s": 0}, "greater than 0"),
        ({"grader": "vibes"}, "'math' or 'exact'"),
    ],
)
def test_contradictory_table_is_refused(table: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        DatasetTask.model_validate({"path": "a", **table})


def test_graders() -> None:
    problem = Problem(content="?", prompt="?", answer="1/2")
    exact, maths = DatasetTask(path=Path("a"), grader="exact"), DatasetTask(path=Path("a"), timeout_s=20)
    assert exact.grade(problem, " 1/2\n")
    assert not exact.grade(problem, "0.5")
    assert maths.grade(problem, "0.5")
    assert not maths.grade(problem, "0.6")
