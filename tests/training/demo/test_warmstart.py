"""A tiny run from end to end: deterministic, killed and resumed, and loadable."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.reasoning import Manifest, ReasoningFormat
from anytime_training import progress
from anytime_training.cli import train
from anytime_training.demo.recipe import OptimiserConfig
from anytime_training.demo.tokenizer import served_tokenizer
from anytime_training.demo.warmstart import learning_rate_at, weighted_loss
from anytime_training.tasks import split_of
from anytime_training.tree import Segment, Tree, pack
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

STEPS = 7
RECIPE = f"""
kind = "warmstart"
name = "tiny"
seed = 3
steps = {STEPS}
batch_examples = 4
pool_batches = 2
threads = 1
save_every_s = 0
num_examples = 4
[model]
hidden_size = 32
num_layers = 1
num_heads = 1
num_key_value_heads = 1
mlp_size = 32
[tokenizer]
vocab_size = 300
corpus_problems = 100
[optimiser]
warmup_steps = 2
"""


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The lines written so far, without times, which differ between runs."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in whole]


@pytest.fixture(name="recipe", scope="module")
def fixture_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(name="finished", scope="module")
def fixture_finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert train([str(recipe), "--out", str(out)]) == 0
    return out


def test_every_step_is_recorded(finished: Path) -> None:
    metrics = metrics_of(finished)
    assert [line["step"] for line in metrics] == list(range(STEPS))
    assert 5 < metrics[0]["loss"] < 6.5  # about ln 300 = 5.7, the loss of random weights
    assert metrics[0]["learning_rate"] == pytest.approx(1e-3)
    assert metrics[1]["learning_rate"] == pytest.approx(2e-3)


def test_recipe_and_versions_are_saved_with_the_run(finished: Path) -> None:
    resolved = json.loads((finished / "recipe.json").read_text())
    assert (resolved["seed"], resolved["optimiser"]["beta1"]) == (3, 0.9)
    assert json.loads((finished / "versions.json").read_text())["torch"] == torch.__version__
    assert not list(finished.glob("*.partial"))
    assert not list(finished.glob("*.displaced"))


def test_checkpoint_loads_with_its_reasoning_format(finished: Path) -> None:
    folder = finished / "checkpoint"
    manifest = Manifest.load(folder)
    assert manifest is not None
    assert (manifest.name, manifest.trained, manifest.seed) == ("tiny", "warmstart", 3)
    assert len(manifest.examples) == 4
    assert manifest.accuracy_curve == []
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reasoning = ReasoningFormat.from_texts(manifest.texts, served_tokenizer(tokenizer))
    assert reasoning.answer_lead_in_ids
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert isinstance(model, Qwen3ForCausalLM)
    assert model.generation_config is not None
    assert model.dtype == torch.bfloat16
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.config.vocab_size == len(tokenizer) == 300
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": manifest.examples[0]}], add_generation_prompt=True, return_tensors="pt"
    )
    assert model(**ids).logits.isfinite().all()


def test_checkpoint_holds_the_trained_weights(finished: Path) -> None:
    state = torch.load(finished / "training_state.pt", weights_only=True)
    model = AutoModelForCausalLM.from_pretrained(finished / "checkpoint")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, state["model"][name].to(torch.bfloat16)), name


def test_interrupted_run_resumes_exactly(
    recipe: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    write = progress.JsonLines.write

    def interrupt_in_step_2(file: progress.JsonLines, metrics: dict[str, Any]) -> None:
        write(file, metrics)
        if metrics["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress.JsonLines, "write", interrupt_in_step_2)
    assert train([str(recipe), "--out", str(out)]) == 130
    monkeypatch.undo()
    assert metrics_of(out) == metrics_of(finished)[:3]
    assert train([str(recipe), "--out", str(out), "--resume"]) == 0
    assert metrics_of(out) == metrics_of(finished)
    for path in (finished / "checkpoint").iterdir():
        assert (out / "checkpoint" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.nightly
def test_killed_run_resumes_exactly(recipe: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    program = "import sys; from anytime_training.cli import train; sys.exit(train(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(recipe), "--out", str(out)],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    while process.poll() is None and len(metrics_of(out)) < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert train([str(recipe), "--out", str(out), "--resume"]) == 0
    assert metrics_of(out) == metrics_of(finished)


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        ("[model]\nwindow_tokens = 16", 2, "model.window_tokens: too few; an example has"),
        ("[reasoning]\nanswer_lead_in = '</think>'", 1, "think"),
        ("[optimiser]\nlearning_rate = 1e30", 1, "try a lower learning rate"),
    ],
)
def test_failed_run_reports_the_cause_and_can_be_started_again(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str, status: int, message: str
) -> None:
    table, _, setting = fault.partition("\n")
    good = recipe.read_text().replace("save_every_s = 0\n", "")
    faulty = good.replace(table, f"{table}\n{setting}") if table in good else f"{good}{fault}\n"
    path, out = tmp_path / "tiny.toml", tmp_path / "run"
    path.write_text(faulty)
    assert train([str(path), "--out", str(out)]) == status
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("anytime train: ")
    assert message in complaint
    path.write_text(good)
    assert train([str(path), "--out", str(out), "--steps", "1"]) == 0


def test_a_finished_run_is_not_overwritten(
    recipe: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    assert train([str(recipe), "--out", str(finished)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert train([str(recipe), "--out", str(finished), "--resume", "--seed", "4"]) == 2
    assert "seed: the run" in capsys.readouterr().err
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_examples_in_the_manifest_are_held_out(finished: Path) -> None:
    manifest = Manifest.load(finished / "checkpoint")
    assert manifest is not None
    bare = [prompt for prompt in manifest.examples if re.fullmatch(r"[-+x*×=?\d ]+", prompt)]
    for prompt in bare:
        content = prompt.rstrip("=? ").replace(" ", "").replace("*", "x").replace("×", "x")
        assert split_of(content) == "test"


def test_loss_is_the_mean_by_the_tokens_weights() -> None:
    segment = Segment(
        ids=[5, 6, 7, 8],
        learned=[False, True, True, True],
        advantages=[0.0, 1.0, 1.0, 4.0],
        sampler_logprobs=[0.0] * 4,
    )
    rows = pack([Tree(trunk=segment)], row_tokens=4, pad_id=0)
    assert weighted_loss(torch.tensor([-1.0, -2.0, -6.0]), rows).item() == pytest.approx(27 / 6)


def test_learning_rate_by_hand() -> None:
    config = OptimiserConfig(learning_rate=1.0, warmup_steps=4, final_share=0.2)
    rates = [learning_rate_at(step, steps=9, config=config) for step in range(9)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.8828427, 0.6, 0.3171573, 0.2])
