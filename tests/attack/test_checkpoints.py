"""Damaged states, full disks and tasks that misbehave, while training."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_training.checkpoint import TrainingState, load_state, replacing_folder, resume_state, save_state
from anytime_training.cli import train
from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.tasks import CustomTask, DatasetTask, Problem

from .matrix import attack

RECIPE = """
kind = "brpo"
name = "tiny"
model = "demo-warmstart"
steps = 1
record_prompts = 0
[task]
kind = "python"
entry = "hostile_task:Task"
[rollout]
prompts = 1
group_size = 2
answers_per_budget = 2
budgets = [4, 8]
[engine]
kind = "transformers"
[evaluation]
problems = 1
"""
TASK = """
import re, time, pathlib
from anytime_training.tasks import Problem, split_of

class Task:
    def sample(self, rng, split="train"):
        while split_of(number := str(rng.randrange(1000))) != split:
            pass
        return Problem(content=number, prompt=f"{number} + 0 =", answer=number)

    def grade(self, problem, answer_text):
        BODY
"""


@pytest.fixture(name="make_recipe")
def fixture_make_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Writes a recipe and its task, whose `grade` is given, into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("anytime_server.engine.environment.prepare_environment", lambda: None)
    monkeypatch.setattr("anytime_server.engine.environment.preload_allocator", lambda: None)

    def make(grade: str = "return len(answer_text) % 2 == 0") -> Path:
        (tmp_path / "hostile_task.py").write_text(TASK.replace("BODY", grade))
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(RECIPE)
        return recipe

    yield make
    sys.modules.pop("hostile_task", None)


def run(*argv: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status of `anytime train`, and the last line of its standard error."""
    status = train([str(argument) for argument in argv])
    return status, capsys.readouterr().err.strip().splitlines()[-1]


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def garbage(content: bytes) -> bytes:
    return random.Random(0).randbytes(len(content))


def empty(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    """2,000 bytes of the weights and moments are inverted, which no parser notices."""
    changed = bytearray(content)
    middle = len(changed) // 2
    for offset in range(middle, middle + 2000):
        changed[offset] ^= 0xFF
    return bytes(changed)


@attack(
    done="`training_state.pt` truncated, empty, garbage, with inverted bytes, or another model's",
    client="one line that names the file and what to do; exit status 1",
    left="all files of the run as they were",
)
def test_damaged_state_is_refused(
    make_recipe: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = make_recipe("return len(answer_text) % 2 == 0"), tmp_path / "run"
    assert run(recipe, "--out", out, capsys=capsys)[0] == 0
    state, weights = out / "training_state.pt", out / "checkpoint" / "model.safetensors"
    content, saved = state.read_bytes(), weights.read_bytes()
    line = (
        rf"{re.escape(str(state))} cannot be resumed from: [^\n]+\. Restore the file, or start a new run "
        r"with another --out, perhaps from the model in .+/checkpoint"
    )
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    with pytest.raises(TrainingFailed, match=rf"^{line}$"):  # undamaged, but of the trained model
        resume_state(out, model, optimiser)
    for damage in (truncated, garbage, empty, flipped):
        state.write_bytes(damage(content))
        with pytest.raises(TrainingFailed, match=rf"^{line}$"):
            load_state(out)
    status, message = run(recipe, "--out", out, "--resume", "--steps", 2, capsys=capsys)
    assert status == 1
    assert re.fullmatch(f"anytime train: {line}", message)
    assert (state.read_bytes(), weights.read_bytes()) == (flipped(content), saved)
    state.write_bytes(content)
    assert run(recipe, "--out", out, "--resume", "--steps", 2, capsys=capsys)[0] == 0


@pytest.mark.parametrize("step", [997, pytest.param(1, marks=pytest.mark.nightly)])
def test_any_inverted_byte_is_noticed_or_harmless(tmp_path: Path, step: int) -> None:
    """Every `step`-th byte of the file in turn, and each of its directory, which has no checksum."""
    state = TrainingState(
        step=3, model={"w": torch.arange(3000.0)}, optimiser={"state": {0: torch.ones(300)}}, seconds=2.5
    )
    save_state(tmp_path, state)
    path = tmp_path / "training_state.pt"
    content = path.read_bytes()
    num_noticed = 0
    offsets = {*range(0, len(content), step), *range(content.index(b"PK\x01\x02"), len(content))}
    for offset in offsets:
        changed = bytearray(content)
        changed[offset] ^= 0xFF
        path.write_bytes(changed)
        try:
            loaded = load_state(tmp_path)
        except TrainingFailed:
            num_noticed += 1
            continue
        assert loaded is not None
        assert (loaded.step, loaded.seconds) == (3, 2.5)
        assert torch.equal(loaded.model["w"], state.model["w"])
        assert torch.equal(loaded.optimiser["state"][0], torch.ones(300))
    assert num_noticed > len(offsets) / 2


@pytest.fixture(name="full_disk")
def fixture_full_disk() -> Iterator[Callable[[int], None]]:
    """Limits the size of files that this process writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@attack(
    done="the disk becomes full while the state or the checkpoint is written",
    client="one line that names the file",
    left="the state and the checkpoint of before, and no partial file",
)
def test_full_disk_leaves_the_earlier_files(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    def state(step: int) -> TrainingState:
        return TrainingState(step=step, model={"w": torch.ones(100_000)}, optimiser={}, seconds=1.0)

    def write_checkpoint(text: str) -> None:
        with replacing_folder(tmp_path / "checkpoint") as partial:
            (partial / "weights").write_text(text)

    save_state(tmp_path, state(1))
    write_checkpoint("old")
    full_disk(1000)
    with pytest.raises(TrainingFailed, match=r"training_state\.pt\.partial cannot be written: [^\n]+$"):
        save_state(tmp_path, state(2))
    with pytest.raises(TrainingFailed, match=r"/checkpoint cannot be written: File too large; [^\n]+$"):
        write_checkpoint("new" * 1000)
    loaded = load_state(tmp_path)
    assert loaded is not None
    assert loaded.step == 1
    assert (tmp_path / "checkpoint" / "weights").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "training_state.pt"]


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        TrainingFailed, match=r"/file/training_state\.pt\.partial cannot be written: Not a dir"
    ):
        save_state(
            tmp_path / "file",
            TrainingState(step=1, model={}, optimiser={}, seconds=1.0),
        )


HANGS = {
    "in a thread": """if not pathlib.Path('first').exists():
            pathlib.Path('first').touch(); time.sleep(0.05); return True
        pathlib.Path('hanging').touch(); time.sleep(3600)""",
    "in a loop of the main thread": "pathlib.Path('hanging').touch()\n        while True: pass",
    "in a regular expression": "pathlib.Path('hanging').touch(); re.match('(a*)*b', 'a' * 60)",
}
"""After its first call took longer than `INLINE_S`, `grade` is called in threads."""


@attack(
    done="SIGTERM or Ctrl-C while the `grade` of a custom task never returns",
    client="exit status 130 within seconds; a line that names the task and how to continue",
    left="the last saved checkpoint; no process",
)
@pytest.mark.parametrize(
    "where",
    [key if key == "in a thread" else pytest.param(key, marks=pytest.mark.nightly) for key in HANGS],
)
def test_hanging_task_ends_with_the_signal(
    make_recipe: Callable[[str], Path], tmp_path: Path, where: str
) -> None:
    recipe = make_recipe(HANGS[where])
    program = "import sys; from anytime_training.cli import train; sys.exit(train(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(recipe), "--out", "run"],
        cwd=tmp_path,
        env=os.environ | {"LD_PRELOAD": "", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "hanging").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        signalled = time.monotonic()
        output, _ = process.communicate(timeout=25)
    finally:
        process.kill()
    assert time.monotonic() - signalled < 8, "2 s on a machine that is not busy"
    assert process.returncode == 130
    assert (
        "hostile_task:Task.grade does not return: steps since the last save are lost; continue with: "
        in output
    )
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@attack(
    done="the `grade` of a custom task raises SystemExit",
    client="an error that names the task; exit status 1",
    left="the run's folder, to be resumed",
)
def test_task_that_exits_is_an_error(
    make_recipe: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe("raise SystemExit(0)")
    status, line = run(recipe, "--out", "run", capsys=capsys)
    assert (status, line) == (1, "anytime train: task.entry: hostile_task:Task.grade raised SystemExit: 0")
    assert not (tmp_path / "run" / "checkpoint").exists()
    (tmp_path / "hostile_task.py").write_text(TASK.replace("BODY", "return True"))
    del sys.modules["hostile_task"]
    assert run(recipe, "--out", "run", "--resume", capsys=capsys)[0] == 0


@attack(
    done="`grade` returns NaN, infinity, 2, None or text, or raises anything",
    client="an error that names the task and the value",
    left="nothing",
)
@pytest.mark.parametrize(
    ("grade", "message"),
    [
        ("return float('nan')", "returned nan, not True or False"),
        ("return float('inf')", "returned inf, not True or False"),
        ("return 2", "returned 2, not True or False"),
        ("pass", "returned None, not True or False"),
        ("return 'no'", "returned 'no', not True or False"),
        ("raise ValueError('\\x1b[2J')", "raised ValueError: "),
        ("import asyncio; raise asyncio.CancelledError", "raised CancelledError: "),
        ("raise GeneratorExit", "raised GeneratorExit: "),
    ],
)
def test_verdicts_that_are_none_are_refused(
    make_recipe: Callable[[str], Path], grade: str, message: str
) -> None:
    make_recipe(grade)
    task = CustomTask(entry="hostile_task:Task")
    with pytest.raises(TrainingFailed, match=re.escape(f"task.entry: hostile_task:Task.grade {message}")):
        task.grade(Problem(content="1", prompt="1", answer="1"), "1")


def test_verdicts_of_numpy_and_torch_are_taken(make_recipe: Callable[[str], Path]) -> None:
    problem = Problem(content="1", prompt="1", answer="1")
    for number, grade in enumerate(
        ["return __import__('numpy').True_", "return __import__('torch').tensor(1.0)", "return 1"]
    ):
        make_recipe(grade)
        shutil.copy("hostile_task.py", f"friendly{number}.py")
        assert CustomTask(entry=f"friendly{number}:Task").grade(problem, "1") is True


@attack(
    done="prompts or answers with lone surrogates, or that are no text, from a custom task or a dataset",
    client="an error that names the field, or the line and the column; exit status 2",
    left="nothing",
)
def test_problems_that_are_no_text_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, prompt in enumerate(["'\\ud800'", "None", "3"]):
        module = f"textless{number}"
        (tmp_path / f"{module}.py").write_text(
            "from anytime_training.tasks import Problem\n"
            "class Task:\n"
            "    def sample(self, rng, split='train'):\n"
            f"        return Problem(content='1', prompt={prompt}, answer='1')\n"
            "    def grade(self, problem, answer_text): return True\n"
        )
        with pytest.raises(RecipeError, match=f"{module}:Task sampled a problem whose prompt is not text"):
            CustomTask(entry=f"{module}:Task").sample(random.Random(0))
    rows = [{"prompt": "1", "answer": "1"}, {"prompt": "\ud800", "answer": "1"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecipeError, match=r"rows\.jsonl, line 2: column 'prompt' is not valid Unicode"):
        DatasetTask(path=tmp_path / "rows.jsonl").sample(random.Random(0))


@attack(
    done="recipes, `recipe.json` and rows of JSON with 100,000 nested brackets or a number of 5,000 digits",
    client="one line that names the file; exit status 2",
    left="nothing",
)
def test_deep_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = "[" * 100_000
    recipe: Any = tmp_path / "recipe.toml"
    for text, reason in ((f"a = {deep}", "is nested too deeply"), (f"a = {'9' * 5000}", "not TOML: ")):
        recipe.write_text(text)
        status, line = run(recipe, capsys=capsys)
        assert status == 2
        assert line.startswith(f"anytime train: recipe: {recipe}: {reason}")
    (tmp_path / "rows.jsonl").write_text(deep)
    with pytest.raises(RecipeError, match=r"rows\.jsonl, line 1: not JSON"):
        DatasetTask(path=tmp_path / "rows.jsonl").sample(random.Random(0))
    recipe.write_text(RECIPE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(deep)
    status, line = run(recipe, "--out", tmp_path / "run", "--resume", capsys=capsys)
    assert status == 2
    assert "recipe.json is damaged: " in line
