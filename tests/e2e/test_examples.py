"""The examples, run as their documentation says, on real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from anytime_server.text.model import Model

from ..servers import RealServer, start

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 240
PROBLEMS = ROOT / "examples" / "problems.jsonl"


def environment(url: str) -> dict[str, str]:
    return os.environ | {"ANYTIME_URL": url, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def run(command: list[str], url: str = "", cwd: Path = ROOT) -> str:
    """The standard output of a command, which must succeed and print nothing on standard error."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def slow() -> Generator[RealServer, None, None]:
    """A server that thinks slowly and never ends by itself."""
    server = start(["--engine", "scripted", "--scripted.seconds-per-token=0.02", "--scripted.never-end=true"])
    yield server
    server.stop()


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_voice_agent_speaks_a_filler_and_answers_an_interruption(slow: RealServer) -> None:
    options = ["--deadline-ms", "3000", "--filler-ms", "100", "--interrupt-ms", "300"]
    printed = run([sys.executable, "examples/voice_agent.py", *options], slow.url)
    patient, impatient = (call.splitlines() for call in printed.split("caller: What is")[1:])

    def first(lines: list[str], text: str) -> int:
        return next(number for number, line in enumerate(lines) if text in line)

    assert first(patient, "One moment") < first(patient, "stopped by: deadline") < first(patient, "(done")
    assert not any("Well?" in line for line in patient)
    assert first(impatient, "One moment") < first(impatient, "Well?") < first(impatient, "stopped by: client")


def test_batch_evaluation_measures_all_budgets_and_resumes(demo_server: RealServer, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "examples/batch_evaluation.py", "--results", str(results)]
    few = tmp_path / "few.jsonl"
    few.write_text("".join(PROBLEMS.read_text().splitlines(keepends=True)[:10]))
    run([*command, "--problems", str(few), "--budgets", "4"], demo_server.url)
    run([*command, "--problems", str(few)], demo_server.url)
    first = results.read_text()
    assert len(first.splitlines()) == 20
    results.write_text(first + '{"id": 11, "bud')  # an incomplete line

    printed = run(command, demo_server.url)
    assert results.read_text().startswith(first), "finished problems ran again"
    found = [line for line in lines(results) if line["budgets"] != [4]]
    assert sorted(line["id"] for line in found) == list(range(1, 61))
    accuracy = {row.split()[0]: float(row.split()[1]) for row in printed.splitlines()[1:5]}
    assert accuracy["96"] > 0.8 > accuracy["8"]
    assert accuracy["8"] == pytest.approx(sum(line["right"]["8"] for line in found) / 60, abs=0.001)


def test_batch_evaluation_can_be_interrupted(slow: RealServer, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "examples/batch_evaluation.py", "--results", str(results), "--at-once", "1"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(slow.url), stderr=subprocess.PIPE, text=True
    ) as process:
        while not results.exists() or not results.read_text():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert errors == "interrupted; repeat the command to resume\n"
    assert 1 <= len(lines(results)) < 60


def test_langchain_gets_thinking_and_stop_cause(demo_server: RealServer) -> None:
    invoked, streamed, structured = run(
        [sys.executable, "examples/langchain_agent.py"], demo_server.url
    ).splitlines()
    assert "'budget_tokens': 24" in invoked
    thinking, _, rest = streamed.removeprefix("stream: ").partition(" -> ")
    assert thinking
    assert rest.split()[1] in ("natural", "budget")
    assert structured.removeprefix("structured: ").lstrip("-").isdigit()


def test_enter_requests_the_answer_in_node(slow: RealServer, tmp_path: Path) -> None:
    client = ROOT / "clients" / "typescript"
    assert (client / "dist").is_dir(), "run `npm ci && npm run build` in clients/typescript first"
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "anytime-client").symlink_to(client)
    script = tmp_path / "answer_now.mjs"
    script.write_text((ROOT / "examples" / "typescript" / "answer_now.mjs").read_text())
    with subprocess.Popen(
        ["node", str(script)],
        env=environment(slow.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        printed = process.stdout.readline() + process.stdout.readline()
        printed += process.stdout.read(1)  # the thinking has started
        process.stdin.write("\n")
        process.stdin.flush()
        printed += process.stdout.read()
    assert process.returncode == 0
    assert "[stopped by: client]" in printed


@pytest.mark.nightly  # on every push, the test of the README's commands runs them, with fewer steps
def test_a_custom_task_is_trained_and_evaluated(tmp_path: Path) -> None:
    """Runs the commands of the example's README with few steps and problems."""
    for path in ROOT.iterdir():
        if path.name != "runs":
            (tmp_path / path.name).symlink_to(path)
    anytime = str(Path(sys.executable).with_name("anytime"))
    warmstart = [sys.executable, "-m", "examples.own_task.warmstart", "--steps", "3"]
    assert "the checkpoint is in runs/sequence-warmstart/checkpoint" in run(warmstart, cwd=tmp_path)

    recipe = "examples/own_task/brpo.toml"
    fewer = {"ROLLOUT__PROMPTS": "2", "ROLLOUT__GROUP_SIZE": "2", "EVALUATION__PROBLEMS": "4"}
    subprocess.run(
        [anytime, "train", recipe, "--steps", "2", "--out", "runs/sequence"],
        cwd=tmp_path,
        env=environment("") | {f"ANYTIME_TRAIN_{name}": value for name, value in fewer.items()},
        check=True,
        timeout=LIMIT_S,
    )
    checkpoint = tmp_path / "runs" / "sequence" / "checkpoint"
    evaluate = [
        anytime,
        "evaluate",
        str(checkpoint),
        "--task",
        recipe,
        "--problems",
        "4",
        "--json",
        "--no-write",
    ]
    printed = run([*evaluate, "--engine", "transformers"], cwd=tmp_path)
    assert json.loads(printed)["budgets"] == [4, 8, 12, 48]
    assert Model.load(checkpoint).name == "sequence"
