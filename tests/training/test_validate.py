"""The draw of validation problems; test_brpo.py tests their evaluation."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from anytime_training.demo.chain.task import ChainTask
from anytime_training.errors import RecipeError
from anytime_training.tasks import DatasetTask
from anytime_training.validate import validation_problems


def dataset(path: Path, *, rows: int, validation_share: float) -> DatasetTask:
    path.write_text("".join(json.dumps({"prompt": f"{n}?", "answer": n}) + "\n" for n in range(rows)))
    return DatasetTask(path=path, validation_share=validation_share, test_share=0)


def test_chains_are_those_of_consecutive_draws() -> None:
    task, rng = ChainTask(), random.Random("7:validation")
    problems = validation_problems(task, 40, seed=7)
    assert problems == [task.sample(rng, "validation") for _ in range(40)]


def test_every_problem_of_a_small_split_is_drawn_once(tmp_path: Path) -> None:
    task = dataset(tmp_path / "rows.jsonl", rows=300, validation_share=0.2)
    whole = task.problems("validation")
    problems = validation_problems(task, 500, seed=0)
    assert len(problems) == len(whole) < 100
    assert {problem.content for problem in problems} == {problem.content for problem in whole}


def test_seed_selects_the_problems(tmp_path: Path) -> None:
    task = dataset(tmp_path / "rows.jsonl", rows=300, validation_share=0.5)
    problems = validation_problems(task, 40, seed=0)
    assert len({problem.content for problem in problems}) == 40
    assert validation_problems(task, 40, seed=0) == problems
    assert validation_problems(task, 40, seed=1) != problems
    assert {p.content for p in validation_problems(task, 40, seed=0, split="train")}.isdisjoint(
        problem.content for problem in task.problems("validation")
    )


def test_empty_split_is_refused_with_its_share(tmp_path: Path) -> None:
    task = dataset(tmp_path / "rows.jsonl", rows=5, validation_share=0)
    with pytest.raises(RecipeError, match=r"task\.path: .*rows\.jsonl .*task\.validation_share is 0"):
        validation_problems(task, 10, seed=0)
    with pytest.raises(RecipeError, match=r"task\.path: .*rows\.jsonl .*task\.test_share is 0"):
        validation_problems(task, 10, seed=0, split="test")
