"""The `[task]` table, and the libraries that its import loads."""

import subprocess
import sys
from typing import Any

import pytest
from anytime_training.config.task import TaskSection
from anytime_training.demo.chain.task import ChainTask
from anytime_training.section import Section
from anytime_training.tasks import CustomTask, DatasetTask, GymTask
from pydantic import ValidationError


class Recipe(Section):
    task: TaskSection


@pytest.mark.parametrize(
    ("table", "task"),
    [
        ({"kind": "chain", "max_operands": 5}, ChainTask(max_operands=5)),
        ({"kind": "dataset", "path": "none.jsonl"}, DatasetTask.model_validate({"path": "none.jsonl"})),
        ({"kind": "gym", "dataset": "countdown"}, GymTask(dataset="countdown")),
        ({"kind": "python", "entry": "a.b:c"}, CustomTask(entry="a.b:c")),
    ],
)
def test_kind_says_which_task_and_nothing_is_read_yet(table: dict[str, Any], task: Section) -> None:
    assert Recipe.model_validate({"task": table}).task == task
    assert Recipe.model_validate({"task": task}).task is task


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "dance"}, "kind must be one of chain, countdown, dataset, gym, python, not 'dance'"),
        ({"kind": ["chain"]}, "kind must be one of chain, countdown, dataset, gym, python, not ['chain']"),
        ({"path": "x"}, "kind must be one of chain, countdown, dataset, gym, python"),
    ],
)
def test_unknown_kind_is_refused_with_a_short_message(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Recipe.model_validate({"task": table})
    (fault,) = refusal.value.errors()
    assert fault["loc"] == ("task",)
    assert fault["msg"] == message


def test_unknown_key_is_named() -> None:
    with pytest.raises(ValidationError) as refusal:
        Recipe.model_validate({"task": {"kind": "gym", "dataset": "countdown", "sede": 3}})
    assert refusal.value.errors()[0]["loc"][-1] == "sede"


def test_importing_tasks_brings_in_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys, anytime_training.tasks\n"
        "heavy = {'torch', 'pyarrow', 'math_verify', 'sympy', 'reasoning_gym', 'numpy', 'transformers'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
