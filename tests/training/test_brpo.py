"""Reinforcement learning from end to end on a real engine: recorded, killed and resumed bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.errors import AnytimeError
from anytime_server.text.model import BUNDLED_MODELS, Model
from anytime_training import brpo, learner
from anytime_training.brpo import train_brpo
from anytime_training.config import BrpoRecipe, load_recipe
from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.run import Run, open_run
from safetensors.torch import load_file

STEPS = 5
RECIPE = f"""
kind = "brpo"
name = "tiny"
model = "demo-warmstart"
seed = 3
steps = {STEPS}
save_every_steps = 2
[task]
kind = "chain"
min_operands = 8
[rollout]
prompts = 3
group_size = 4
answers_per_budget = 2
budgets = [8, 16, 40]
[engine]
kind = "transformers"
max_num_seqs = 32
[loss]
clip_low = 0.01
clip_high = 0.01
[learner]
learning_rate = 1e-4
minibatches = 2
[evaluation]
every_steps = 2
problems = 4
"""


@pytest.fixture(name="path", scope="module")
def fixture_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


def recipe_at(path: Path, **environment: str) -> BrpoRecipe:
    settings = {f"ANYTIME_TRAIN_{name.upper()}": value for name, value in environment.items()}
    recipe = load_recipe(path, environment=settings, flags={})
    assert isinstance(recipe, BrpoRecipe)
    return recipe


def train(recipe: BrpoRecipe, out: Path, *, resume: bool = False, stop_after: int | None = None) -> bool:
    """Train; request a stop after `stop_after` steps."""
    out.mkdir(exist_ok=True)
    steps_done = 0

    def should_stop() -> bool:
        nonlocal steps_done
        steps_done += 1
        return steps_done == stop_after

    run = Run(folder=out, resume=resume, versions={"torch": "2"}, should_stop=should_stop)
    return train_brpo(recipe, run)


def lines_of(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The complete lines written so far, without times, which differ between runs."""
    path = folder / name
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return [{k: v for k, v in line.items() if k not in ("seconds", "timing")} for line in whole]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("metrics.jsonl", "evaluations.jsonl", "rollouts.jsonl"):
        assert lines_of(one, name) == lines_of(other, name), name
    states = [torch.load(folder / "training_state.pt", weights_only=True) for folder in (one, other)]
    for name, weight in states[0]["model"].items():
        assert torch.equal(weight, states[1]["model"][name]), name
    for name in ("model.safetensors", "anytime.json", "config.json", "tokenizer.json"):
        assert (one / "checkpoint" / name).read_bytes() == (other / "checkpoint" / name).read_bytes()


@pytest.fixture(name="finished", scope="module")
def fixture_finished(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert train(recipe_at(path), out)
    return out


def test_every_step_is_recorded(finished: Path) -> None:
    metrics = lines_of(finished)
    assert [line["step"] for line in metrics] == list(range(STEPS))
    for line in metrics:
        assert 0 < line["reward"] < 1
        assert line["reward"] == pytest.approx(sum(line["reward_at"].values()) / 3)
        assert list(line["reward_at"]) == ["8", "16", "40"]
        assert 0 <= line["mismatch"] < 1e-5, "float32 on both sides"
        assert line["mismatch"] <= line["mismatch_max"]
        assert line["learned_tokens"] > 0
        assert 0 <= line["clip_fraction"] < 1
        assert set(line["variance"]) == {"v1", "v2", "brpo"}
    tokens = [line["rollout_tokens"] for line in metrics]
    assert tokens == sorted(tokens)
    assert any(line["clip_fraction"] > 0 for line in metrics), "the second mini-batch is off-policy"


def test_evaluations_come_before_the_first_step_and_after_the_last(finished: Path) -> None:
    evaluations = lines_of(finished, "evaluations.jsonl")
    assert [line["step"] for line in evaluations] == [0, 2, 4, 5]
    for line in evaluations:
        assert line["budgets"] == [8, 16, 40]
        assert line["n"] == 4
        assert all(
            low <= x <= high for low, x, high in zip(line["low"], line["accuracy"], line["high"], strict=True)
        )
        assert line["anytime"] == pytest.approx(sum(line["accuracy"]) / 3)


def test_rollouts_can_be_read(finished: Path) -> None:
    lines = lines_of(finished, "rollouts.jsonl")
    assert [line["step"] for line in lines] == [step for step in range(STEPS) for _ in range(4)]
    for line in lines:
        assert line["thinking"].startswith(("Quick", "Steps"))
        assert line["truncated_at"] == [min(budget, line["thinking_tokens"]) for budget in (8, 16, 40)]
        for answers, rewards in zip(line["answers"], line["rewards"], strict=True):
            assert [float(answer == line["answer"]) for answer in answers] == rewards


def test_the_checkpoint_is_what_was_trained(finished: Path) -> None:
    folder = finished / "checkpoint"
    model = Model.load(folder)
    manifest = model.manifest
    assert (manifest.name, manifest.trained, manifest.recipe, manifest.seed) == ("tiny", "brpo", "tiny", 3)
    assert (manifest.budgets, manifest.prior, manifest.accuracy_curve) == ([8, 16, 40], "uniform", [])
    assert manifest.task == {
        "kind": "chain",
        "min_operands": 8,
        "max_operands": 12,
        "bare_weight": 0.3,
        "question_weight": 0.3,
        "instructions_weight": 0.3,
        "story_weight": 0.1,
    }
    state = torch.load(finished / "training_state.pt", weights_only=True)
    stored = load_file(folder / "model.safetensors")
    start = load_file(BUNDLED_MODELS / "demo-warmstart" / "model.safetensors")
    assert stored.keys() == start.keys()
    for name, weight in stored.items():
        assert torch.equal(weight, state["model"][name].to(torch.bfloat16)), name
    assert any(not torch.equal(weight, stored[name]) for name, weight in start.items())


@pytest.mark.nightly
def test_interrupted_run_resumes_exactly(path: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert not train(recipe_at(path), out, stop_after=3)
    assert len(lines_of(out)) == 3
    assert train(recipe_at(path), out, resume=True)
    assert_same_run(out, finished)


KILLED_IN_STEP = """
from anytime_training.learner import Learner
step = Learner.step
def killed(self, trees, *, number, **options):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, trees, number=number, **options)
Learner.step = killed
"""
KILLED_IN_SAVE = """
from anytime_training import checkpoint
saved = []
def killed(descriptor):
    saved.append(descriptor)
    if len(saved) > 12:  # files of the second checkpoint, before it replaces the first
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.os.fsync = killed
"""
KILLED_BETWEEN_SAVES = """
from anytime_training import brpo
count = []
save = brpo.save_state
def killed(folder, state):
    if state.step == 4:  # its checkpoint is saved, its state is not
        os.kill(os.getpid(), signal.SIGKILL)
    save(folder, state)
brpo.save_state = killed
"""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(KILLED_IN_STEP, marks=pytest.mark.nightly),
        pytest.param(KILLED_IN_SAVE, marks=pytest.mark.nightly),
        KILLED_BETWEEN_SAVES,
    ],
)
def test_killed_run_resumes_exactly(path: Path, finished: Path, tmp_path: Path, fault: str) -> None:
    out = tmp_path / "run"
    program = f"""
import os, signal, sys
{fault}
from anytime_training.cli import train
sys.exit(train(sys.argv[1:]))
"""
    environment = os.environ | {"LD_PRELOAD": "", "PYTHONWARNINGS": "ignore"}
    process = subprocess.run(
        [sys.executable, "-c", program, str(path), "--out", str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert (out / "training_state.pt").exists()
    assert Model.load(out / "checkpoint").manifest.name == "tiny", "the checkpoint is complete"
    assert train(recipe_at(path), out, resume=True)
    assert_same_run(out, finished)


@pytest.mark.nightly
def test_run_on_vllm_resumes_exactly(path: Path, tmp_path: Path) -> None:
    recipe = recipe_at(path, steps="2", engine__kind="vllm")
    assert train(recipe, tmp_path / "whole")
    assert not train(recipe, tmp_path / "run", stop_after=1)
    assert train(recipe, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert all(line["mismatch"] < 1e-4 for line in lines_of(tmp_path / "whole"))


def test_grpo_is_a_preset_of_the_same_code(path: Path, tmp_path: Path) -> None:
    plain = path.read_text().replace("answers_per_budget = 2\n", "")
    grpo = tmp_path / "grpo.toml"
    grpo.write_text(plain)
    assert train(recipe_at(grpo, preset="grpo", steps="1"), tmp_path / "run")
    [line] = lines_of(tmp_path / "run")
    assert list(line["reward_at"]) == ["40"]
    [*_, rollout] = lines_of(tmp_path / "run", "rollouts.jsonl")
    assert [len(answers) for answers in rollout["answers"]] == [1]
    assert Model.load(tmp_path / "run" / "checkpoint").manifest.trained == "grpo"


def test_a_limit_of_tokens_ends_the_run(path: Path, tmp_path: Path) -> None:
    assert train(recipe_at(path, max_rollout_tokens="1000"), tmp_path / "run")
    tokens = [line["rollout_tokens"] for line in lines_of(tmp_path / "run")]
    assert len(tokens) < STEPS
    assert all(count < 1000 for count in tokens[:-1])
    assert tokens[-1] >= 1000


def test_a_loss_that_is_not_finite_stops_with_its_data_saved(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = learner.policy_loss

    def broken(*arguments: Any, **options: Any) -> Any:
        loss, statistics = plain(*arguments, **options)
        return loss * float("nan"), statistics

    monkeypatch.setattr(learner, "policy_loss", broken)
    with pytest.raises(TrainingFailed, match="in step 0 the loss is nan"):
        train(recipe_at(path), tmp_path / "run")
    data = torch.load(tmp_path / "run" / "failed-step-0.pt", weights_only=True)
    assert data["step"] == 0
    assert any(tree["branches"] for trees in data["trees"] for tree in trees)
    assert lines_of(tmp_path / "run") == []


def test_mismatched_engine_stops_the_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*arguments: Any, **options: Any) -> None:
        pass

    monkeypatch.setattr(brpo, "sync_weights", nothing)
    recipe = recipe_at(path, engine__max_mismatch="0.001", learner__learning_rate="0.01")
    with pytest.raises(TrainingFailed, match="differ from the trainer's by"):
        train(recipe, tmp_path / "run")


@pytest.mark.nightly
def test_kl_penalty_is_recorded(path: Path, finished: Path, tmp_path: Path) -> None:
    assert train(recipe_at(path, steps="2", loss__kl_coefficient="100"), tmp_path / "run")
    assert lines_of(tmp_path / "run")[-1]["kl"] > 0
    assert lines_of(finished)[-1]["kl"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "nowhere"}, "model: there is no folder nowhere, nor is it bundled (demo, demo-warmstart)"),
        ({"task": '{kind = "dataset", path = "nowhere.jsonl"}'}, "task.path: "),
        ({"rollout__budgets": "[8, 5000]"}, "evaluation.budgets: no prompt leaves room"),
        ({"rollout__budgets": "[8, 5000]", "evaluation__budgets": "[8]"}, "rollout.budgets: hardly a prompt"),
        ({"report_to": '["wandb"]'}, "report_to: wandb is not installed"),
        ({"learner__attention": "flex"}, "learner.attention: flex needs a GPU"),
        ({"learner__device": "cuda"}, "learner.device: there is no CUDA device"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="tests a machine without a GPU")
def test_incompatible_settings_are_refused(
    path: Path, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        train(recipe_at(path, **settings), tmp_path / "run")
    assert str(caught.value).startswith(message)


def test_a_dead_engine_ends_the_run_with_a_reason(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build: Callable[..., Any] = brpo.build_engine

    def doomed(*arguments: Any) -> Any:
        engine = build(*arguments)
        count = 0
        generate_all = engine.generate_all

        async def once(requests: Any) -> Any:
            nonlocal count
            count += 1
            if count == 3:
                await engine.stop()
            return await generate_all(requests)

        engine.generate_all = once
        return engine

    monkeypatch.setattr(brpo, "build_engine", doomed)
    started = time.monotonic()
    with pytest.raises(AnytimeError, match="engine"):
        train(recipe_at(path), tmp_path / "run")
    assert time.monotonic() - started < 60


def test_prompts_that_are_too_long_are_skipped(path: Path, tmp_path: Path) -> None:
    counts = (*range(2, 22), *range(600, 620))
    problems = [{"prompt": "1+" * count + "1 =", "answer": "1"} for count in counts]
    (data := tmp_path / "sums.jsonl").write_text("".join(json.dumps(one) + "\n" for one in problems))
    task = f'{{kind = "dataset", path = "{data}", grader = "exact", validation_share = 0.2, test_share = 0}}'
    recipe = recipe_at(path, task=task, steps="1", evaluation__problems="8", rollout__prompts="8")
    assert train(recipe, tmp_path / "run")
    assert sum(line["skipped_prompts"] for line in lines_of(tmp_path / "run")) > 0
    manifest = Model.load(tmp_path / "run" / "checkpoint").manifest
    assert all(example.startswith("1+1+") for example in manifest.examples), "examples of the trained task"


def test_model_without_a_lead_in_is_refused(path: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED_MODELS / "demo-warmstart", tmp_path / "start")
    manifest = json.loads((tmp_path / "start" / "anytime.json").read_text())
    (tmp_path / "start" / "anytime.json").write_text(json.dumps(manifest | {"answer_lead_in": ""}))
    with pytest.raises(RecipeError, match="has no answer_lead_in"):
        train(recipe_at(path, model=str(tmp_path / "start")), tmp_path / "run")


def test_resumed_run_may_change_how_it_computes_but_not_what_it_learns(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with open_run(out, recipe_at(path), resume=False):
        (out / "training_state.pt").touch()
    changed = recipe_at(path, engine__sync_timeout_s="7", steps="9")
    with open_run(out, changed, resume=True):
        assert json.loads((out / "recipe.json").read_text())["engine"]["sync_timeout_s"] == 7
    with (
        pytest.raises(RecipeError, match=r"^learner.learning_rate: the run .* 0.0001, not 0.5"),
        open_run(out, recipe_at(path, learner__learning_rate="0.5"), resume=True),
    ):
        pass
    with (
        pytest.raises(RecipeError, match=r"^learner.final_share: "),
        open_run(out, recipe_at(path, learner__final_share="0.5", steps="12"), resume=True),
    ):
        pass
    versions = json.loads((out / "versions.json").read_text())
    (out / "versions.json").write_text(json.dumps(versions | {"torch": "1.0"}))
    with open_run(out, changed, resume=True):
        assert "torch is" in capsys.readouterr().err
