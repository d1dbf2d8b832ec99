"""Tasks of reasoning-gym: splits, thresholds and errors."""

import random
import re
import sys
import time
from typing import Any

import pytest
from anytime_training.errors import RecipeError
from anytime_training.tasks import GymTask, Split, split_of
from pydantic import ValidationError

pytest.importorskip("reasoning_gym")

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
COUNTDOWN = GymTask(dataset="countdown", config={"max_numbers": 4}, size=2000, timeout_s=20)


@pytest.mark.parametrize("split", SPLITS)
def test_problems_are_in_the_requested_split_and_depend_on_the_generator_alone(split: Split) -> None:
    problems, again = (
        [COUNTDOWN.sample(rng, split) for _ in range(5)] for rng in (random.Random(2), random.Random(2))
    )
    assert problems == again
    assert {split_of(problem.content) for problem in problems} == {split}
    assert len({problem.content for problem in problems}) > 3
    assert all(len(problem.entry["metadata"]["numbers"]) <= 4 for problem in problems)


def test_the_seed_makes_other_problems() -> None:
    other = COUNTDOWN.model_copy(update={"seed": 10_000})
    assert other.sample(random.Random(0)) != COUNTDOWN.sample(random.Random(0))


def test_partial_score_is_wrong() -> None:
    problem = COUNTDOWN.sample(random.Random(0))
    assert COUNTDOWN.grade(problem, f" {problem.answer}\n")
    for wrong in ("", " ", "nonsense", "1", f"{problem.answer} + 0", "__import__('os')._exit(0)"):
        assert not COUNTDOWN.grade(problem, wrong), wrong


def test_lower_threshold_accepts_partial_scores() -> None:
    task = GymTask(dataset="countdown", config={"max_numbers": 4}, size=2000, threshold=0.01, timeout_s=20)
    assert task.grade(task.sample(random.Random(0)), "nonsense")


def test_an_answer_that_hangs_is_wrong() -> None:
    task = GymTask(dataset="countdown", config={"max_numbers": 4}, size=2000, timeout_s=1)
    problem = task.sample(random.Random(0))
    task.grade(problem, "1")
    start = time.monotonic()
    assert not task.grade(problem, "9**9**9**9")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"dataset": "countdwon"}, "task.dataset: reasoning-gym has no 'countdwon'; there is countdown"),
        (
            {"dataset": "countdown", "config": {"max_number": 3}},
            "task.config.max_number: not an option of 'countdown'; there is max_numbers",
        ),
        ({"dataset": "countdown", "config": {"min_numbers": 0}}, "task.config: 'countdown' refuses it: "),
        ({"dataset": "countdown", "size": 1}, "task.size: none of 1000 problems of 'countdown' is in the"),
    ],
)
def test_errors_name_the_key(table: dict[str, Any], fault: str) -> None:
    task = GymTask.model_validate(table)
    with pytest.raises(RecipeError, match=re.escape(fault)):
        [task.sample(random.Random(0), split) for split in SPLITS]


def test_seed_and_size_are_not_options() -> None:
    with pytest.raises(ValidationError, match="seed and size must be keys of the task"):
        GymTask(dataset="countdown", config={"size": 3, "seed": 1})


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(RecipeError, match=r"pip install 'anytime-reasoner\[gym\]'"):
        GymTask(dataset="countdown").sample(random.Random(0))
