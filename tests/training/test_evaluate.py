"""Accuracy at each budget, on engines whose answers are known."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.errors import AnytimeError, InvalidRequest
from anytime_server.reasoning import Manifest
from anytime_training.demo.chain.task import ChainTask
from anytime_training.errors import RecipeError
from anytime_training.evaluate import held_out_problems, main, measure, task_of
from anytime_training.interval import wilson_interval
from anytime_training.tasks import CustomTask, Problem, Split

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


async def test_measures_every_problem_at_every_budget(start_scheduler: Callable[..., Any]) -> None:
    one = await start_scheduler(never_end=True)
    task = FixedTask()
    answers = 0

    def count() -> None:
        nonlocal answers
        answers += 1

    problems = held_out_problems(task, 10, seed=3)
    curve = await measure(one, task, problems, budgets=[2, 5, 9], seed=3, on_answer=count)
    assert answers == 30
    assert set(task.splits) == {"test"}
    assert task.count == 10
    assert [point.budget for point in curve.points] == [2, 5, 9]
    assert [point.accuracy for point in curve.points] == [0.5] * 3
    assert (curve.points[0].low, curve.points[0].high) == wilson_interval(5, 10)
    assert curve.points[0].n == 10
    assert curve.mean_thinking_tokens == (2.0, 5.0, 9.0)


async def test_each_problem_has_its_own_seed(
    start_scheduler: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same at every budget: 3 · 1,000,003 plus the problem's number."""
    one = await start_scheduler()
    submit, seeds = one.submit, list[int]()

    async def recorded(request: Any) -> Any:
        seeds.append(request.seed)
        return await submit(request)

    monkeypatch.setattr(one, "submit", recorded)
    await measure(one, FixedTask(), held_out_problems(FixedTask(), 3, seed=3), budgets=[2, 5], seed=3)
    assert seeds == [3_000_009, 3_000_010, 3_000_011] * 2


async def test_a_failed_session_is_no_wrong_answer(start_scheduler: Callable[..., Any]) -> None:
    one = await start_scheduler(never_end=True, die_after_tokens=30)
    with pytest.raises(AnytimeError):
        await measure(one, FixedTask(), held_out_problems(FixedTask(), 20, seed=0), budgets=[4], seed=0)


async def test_only_blank_answers_are_a_wrong_answer(start_scheduler: Callable[..., Any]) -> None:
    """The thinking before blank answers is counted."""
    one = await start_scheduler(never_end=True, answer=" ")
    task, answers = FixedTask(), [0]
    problems = held_out_problems(task, 4, seed=0)

    def count() -> None:
        answers[0] += 1

    curve = await measure(one, task, problems, budgets=[0, 6], seed=0, on_answer=count)
    assert [(point.accuracy, point.n) for point in curve.points] == [(0.0, 4), (0.0, 4)]
    assert curve.mean_thinking_tokens == (0.0, 6.0)
    assert answers == [8]


async def test_a_problem_that_does_not_fit_is_named(start_scheduler: Callable[..., Any]) -> None:
    one = await start_scheduler()
    problem = Problem(content="a long story", prompt="x" * 5000, answer="42")
    with pytest.raises(InvalidRequest, match=r"the problem that begins 'a long story': .*token"):
        await measure(one, FixedTask(), [problem], budgets=[4], seed=0)


def test_each_held_out_problem_is_asked_once() -> None:
    task = ChainTask(min_operands=2, max_operands=2)
    contents = [problem.content for problem in held_out_problems(task, 500, seed=0)]
    assert len(set(contents)) == len(contents) < 100
    rng = random.Random("0:evaluate")
    assert set(contents) == {task.sample(rng, "test").content for _ in range(5000)}


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
def test_invalid_options_are_refused_at_once(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: Any = main(argv)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    complaint = capsys.readouterr().err
    assert argv[0] in complaint
    assert "invalid _" not in complaint


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
    with pytest.raises(AnytimeError, match=r"anytime\.json: task: kind must be one of"):
        task_of(None, Manifest(**TEXTS, task={"kind": "riddle"}), folder=tmp_path)
    faulty = Manifest(**TEXTS, task={"kind": "chain", "min_operands": 1, "colour": 3})
    with pytest.raises(AnytimeError, match=r"task\.chain\.min_operands: .*; task\.chain\.colour: "):
        task_of(None, faulty, folder=tmp_path)
    with pytest.raises(RecipeError, match="missing"):
        task_of(tmp_path / "missing.toml", own, folder=tmp_path)


def test_code_that_a_checkpoint_names_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    named = {"kind": "python", "entry": "trap:make"}
    Manifest(**TEXTS, budgets=[4], task=named).save(tmp_path)
    with pytest.raises(AnytimeError, match=r"names a Python task; to run its code give --task RECIPE\.toml"):
        task_of(None, Manifest(**TEXTS, task=named), folder=tmp_path)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'kind = "brpo"\nname = "x"\nmodel = "demo"\nsteps = 1\n[rollout]\nbudgets = [8]\n'
        '[task]\nkind = "python"\nentry = "trap:make"\n'
    )
    assert task_of(recipe, Manifest(**TEXTS), folder=tmp_path) == CustomTask(entry="trap:make")
    assert not (tmp_path / "sprung").exists()


def test_command_reports_fewer_problems_and_keeps_no_curve_of_another_task(
    tmp_path: Path,
    tiny_checkpoint: Path,
    scripted: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("anytime_server.engine.environment.prepare_environment", lambda: None)
    monkeypatch.setattr("anytime_server.engine.environment.preload_allocator", lambda: None)
    monkeypatch.setattr("anytime_training.evaluate._engine", lambda name, folder: scripted())
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    own = Manifest.load(checkpoint)
    assert own is not None
    own = own.model_copy(update={"task": {"kind": "chain"}})
    own.save(checkpoint)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"{n}?", "answer": "42"}) + "\n" for n in range(7)))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'kind = "brpo"\nname = "x"\nmodel = "demo"\nsteps = 1\n[rollout]\nbudgets = [8]\n'
        f'[task]\nkind = "dataset"\npath = "{rows}"\ntest_share = 1\nvalidation_share = 0\ngrader = "exact"\n'
    )
    argv = [str(checkpoint), "--task", str(recipe), "--budgets", "4", "--problems", "20", "--json"]
    assert main(argv) == 0
    said = capsys.readouterr()
    curve = json.loads(said.out)
    assert (curve["n"], curve["accuracy"]) == (7, [1.0])
    assert "7 problems are asked, not 20" in said.err
    assert "it names another task than --task" in said.err
    assert Manifest.load(checkpoint) == own
