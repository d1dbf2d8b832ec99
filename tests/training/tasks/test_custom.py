"""Custom tasks, and the errors of unusable ones."""

import random
import re
import sys
from pathlib import Path

import pytest
from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.tasks import CustomTask, Problem, grade_all
from pydantic import ValidationError

SOURCE = """
from anytime_training.tasks import Problem

NUMBER = 3

class Doubling:
    def __init__(self, largest=9):
        if largest < 1:
            raise ValueError("largest must be positive")
        self.largest = largest

    def sample(self, rng, split="train"):
        number = rng.randint(1, self.largest)
        return Problem(content=f"{split} {number}", prompt=f"2*{number}", answer=str(2 * number))

    def grade(self, problem, answer_text):
        return 1 if answer_text == problem.answer else 0

class Sampler:
    def sample(self, rng, split):
        return "no problem"

class Careless(Sampler):
    def grade(self, problem, answer_text):
        return True

class Raising:
    def sample(self, rng, split):
        raise KeyError("k" * 5000)

    def grade(self, problem, answer_text):
        raise ValueError("boom")

class Refusing(Raising):
    def sample(self, rng, split):
        from anytime_training.errors import RecipeError
        raise RecipeError("task.options: too few")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_tasks").mkdir()
    (tmp_path / "own_tasks" / "doubling.py").write_text(SOURCE)
    (tmp_path / "own_tasks" / "broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("own_tasks")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_entry_is_called_with_its_options(folder: Path) -> None:
    task = CustomTask(entry="own_tasks.doubling:Doubling", options={"largest": 1})
    problem = task.sample(random.Random(0), "validation")
    assert (problem.content, problem.prompt, problem.answer) == ("validation 1", "2*1", "2")
    assert task.grade(problem, "2") is True
    assert task.grade(problem, "3") is False
    assert grade_all(task, [(problem, "2"), (problem, "4")], num_threads=2) == [True, False]
    assert str(folder) not in sys.path


@pytest.mark.parametrize(
    ("entry", "options", "fault"),
    [
        ("own_tasks.none:Doubling", {}, "task.entry: own_tasks.none cannot be imported: ModuleNotFoundError"),
        (
            "own_tasks.broken:Doubling",
            {},
            "task.entry: own_tasks.broken cannot be imported: ZeroDivisionError",
        ),
        ("own_tasks.doubling:Halving", {}, "task.entry: own_tasks.doubling has no Halving"),
        (
            "own_tasks.doubling:NUMBER",
            {},
            "task.entry: own_tasks.doubling:NUMBER is a int: it cannot be called",
        ),
        (
            "own_tasks.doubling:Sampler",
            {},
            "task.entry: own_tasks.doubling:Sampler returned a Sampler, which has no",
        ),
        (
            "own_tasks.doubling:Careless",
            {},
            "own_tasks.doubling:Careless sampled a str, not an anytime_training",
        ),
        ("own_tasks.doubling:Doubling", {"largest": 0}, "refuses them: ValueError: largest must be positive"),
        (
            "own_tasks.doubling:Doubling",
            {"width": 0},
            "task.options: own_tasks.doubling:Doubling refuses them",
        ),
    ],
)
def test_unusable_entry_is_refused(entry: str, options: dict[str, int], fault: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(fault)):
        CustomTask(entry=entry, options=options).sample(random.Random(0))


@pytest.mark.parametrize("entry", ["doubling", "a.b.c", "a:b:c", ".a:b", "a/b:c", "a:", ":b", "1a:b"])
def test_an_entry_names_a_module_and_an_attribute(entry: str) -> None:
    with pytest.raises(ValidationError, match="entry"):
        CustomTask(entry=entry)


def test_exceptions_of_custom_code_name_the_entry() -> None:
    task = CustomTask(entry="own_tasks.doubling:Raising")
    problem = Problem(content="a", prompt="a", answer="1")
    with pytest.raises(TrainingFailed) as failure:
        task.grade(problem, "1")
    assert str(failure.value) == "task.entry: own_tasks.doubling:Raising.grade raised ValueError: boom"
    assert isinstance(failure.value.__cause__, ValueError)
    with pytest.raises(
        TrainingFailed, match=r"own_tasks.doubling:Raising.sample raised KeyError: 'kkk"
    ) as failure:
        task.sample(random.Random(0))
    assert len(str(failure.value)) < 500
    with pytest.raises(RecipeError, match=r"^task\.options: too few$"):
        CustomTask(entry="own_tasks.doubling:Refusing").sample(random.Random(0))


LISTING = """
from anytime_training.tasks import Problem

class Listing:
    def __init__(self, answers):
        self.answers = answers

    def sample(self, rng, split="train"):
        return Problem(content="2", prompt="2", answer="4")

    def grade(self, problem, answer_text):
        return True

    def accepted_answers(self, problem):
        return self.answers
"""


def test_lists_right_answers_if_the_custom_task_does(folder: Path) -> None:
    problem = Problem(content="2", prompt="2", answer="4")
    (folder / "own_tasks" / "listing.py").write_text(LISTING)

    def listed(answers: object) -> tuple[str, ...]:
        task = CustomTask(entry="own_tasks.listing:Listing", options={"answers": answers})
        return task.accepted_answers(problem)

    assert listed(["4", "four"]) == ("4", "four")
    for wrong in ("4", [4], ["\ud800"]):
        with pytest.raises(TrainingFailed, match=r"accepted_answers returned .* not texts"):
            listed(wrong)
    with pytest.raises(TrainingFailed, match="accepted_answers raised TypeError"):
        listed(4)
    with pytest.raises(RecipeError, match="has no method accepted_answers"):
        CustomTask(entry="own_tasks.doubling:Doubling").accepted_answers(problem)
