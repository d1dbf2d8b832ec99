"""The bundled checkpoint through the command line: serve, ask, evaluate."""

from __future__ import annotations

import json
import random
import subprocess
from itertools import pairwise

import pytest
from anytime_client import Client
from anytime_server.reasoning import Manifest
from anytime_server.text.model import BUNDLED_MODEL, BUNDLED_MODELS
from anytime_training.demo.chain.task import ChainTask

from ..servers import ANYTIME, RealServer


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    found = Manifest.load(BUNDLED_MODEL)
    assert found is not None
    return found


def ask(server: RealServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ANYTIME), "ask", "--url", server.url, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_manifest_is_complete(manifest: Manifest) -> None:
    assert manifest.name == "anytime-demo"
    assert manifest.trained == "brpo"
    assert manifest.prior == "uniform"
    assert set(manifest.budgets) <= {point.budget for point in manifest.accuracy_curve}
    assert all(point.n >= 1000 for point in manifest.accuracy_curve)
    assert len(manifest.examples) >= 4
    assert {"torch", "transformers"} <= set(manifest.versions)


def test_accuracy_grows_with_the_budget(manifest: Manifest) -> None:
    """Each budget but the last is significantly better than the one before, and none is perfect."""
    curve = manifest.accuracy_curve
    assert all(before.high < after.low for before, after in pairwise(curve[:-1]))
    assert curve[-1].high < 1


def test_training_improved_on_the_warm_start(manifest: Manifest) -> None:
    """The warm start is bundled, too."""
    start = Manifest.load(BUNDLED_MODELS / "demo-warmstart")
    assert start is not None
    before = {point.budget: point for point in start.accuracy_curve}
    after = {point.budget: point for point in manifest.accuracy_curve}
    assert before.keys() == after.keys()
    assert all(before[budget].high < after[budget].low for budget in (16, 32))
    assert all(before[budget].low < after[budget].high for budget in before), "none may be worse"


def test_ask_prints_thinking_and_answer(demo_server: RealServer, manifest: Manifest) -> None:
    done = ask(demo_server, manifest.examples[0], "--budget", "16", "--seed", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "thinking tokens" in done.stdout
    assert "\x1b" not in done.stdout  # no colours outside a terminal


def test_answers_are_right_at_a_large_budget(demo_server: RealServer, manifest: Manifest) -> None:
    """At least half of twelve new problems; the measured accuracy is far higher."""
    task, rng = ChainTask(max_operands=6), random.Random(5)
    problems = [task.sample(rng, split="test") for _ in range(12)]
    num_right = 0
    with Client(demo_server.url) as client:
        for problem in problems:
            done = client.think(problem.prompt, budget=manifest.budgets[-1], thinking={"seed": 1}).result()
            num_right += task.grade(problem, done.answer)
    assert num_right >= 6


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_evaluate_prints_json_and_does_not_change_the_bundled_model(engine: str) -> None:
    before = (BUNDLED_MODEL / "anytime.json").read_bytes()
    options = ("--problems", "40", "--seed", "2", "--budgets", "4,96", "--engine", engine)
    done = subprocess.run(
        [str(ANYTIME), "evaluate", "--json", *options],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    [line] = done.stdout.splitlines()
    measured = json.loads(line)
    assert measured["budgets"] == [4, 96]
    assert measured["n"] == 40
    assert measured["trained"] == "brpo"
    assert measured["low"][1] <= measured["accuracy"][1] <= measured["high"][1]
    assert measured["anytime"] == pytest.approx(sum(measured["accuracy"]) / 2)
    assert measured["final"] == measured["accuracy"][1]
    assert (BUNDLED_MODEL / "anytime.json").read_bytes() == before
