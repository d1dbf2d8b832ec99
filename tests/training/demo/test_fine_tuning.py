"""Supervised training of a model from a folder: all weights, or adapters that are merged into them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.reasoning import Manifest
from anytime_server.text.model import Model
from anytime_training import progress
from anytime_training.cli import train
from safetensors.torch import load_file

RECIPE = """
kind = "warmstart"
name = "tuned"
model = "{model}"
seed = 3
steps = {steps}
batch_examples = 4
pool_batches = 2
threads = 1
save_every_s = 0
num_examples = 2
[optimiser]
learning_rate = 1e-3
warmup_steps = 1
"""
LORA = "[lora]\nrank = 2\n"


def run(folder: Path, model: Path | str, *, steps: int, tables: str = "", resume: bool = False) -> int:
    """Train in the folder. Returns the exit status."""
    folder.mkdir(exist_ok=True)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(model=model, steps=steps) + tables)
    return train([str(recipe), "--out", str(folder / "run"), *(["--resume"] if resume else [])])


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "model.safetensors")


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert {name: tensor.shape for name, tensor in after.items()} == {
        name: tensor.shape for name, tensor in before.items()
    }
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def test_all_weights_are_trained_and_the_rest_of_the_folder_is_kept(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    assert run(tmp_path, tiny_checkpoint, steps=2) == 0
    checkpoint = tmp_path / "run" / "checkpoint"
    before, after = weights_of(tiny_checkpoint), weights_of(checkpoint)
    assert changed(before, after) == set(before)
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (checkpoint / name).read_bytes() == (tiny_checkpoint / name).read_bytes()
    model, start = Model.load(checkpoint), Manifest.load(tiny_checkpoint)
    assert start is not None
    assert model.manifest.texts == start.texts
    assert (model.manifest.name, model.manifest.trained) == ("tuned", "warmstart")
    assert len(model.manifest.examples) == 2


def test_adapters_are_merged_into_the_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert run(tmp_path, tiny_checkpoint, steps=2, tables=LORA) == 0
    before, after = weights_of(tiny_checkpoint), weights_of(tmp_path / "run" / "checkpoint")
    linear = {name for name in before if "_proj" in name}
    embeddings = "model.embed_tokens.weight"
    assert changed(before, after) == {*linear, embeddings}
    rows = (before[embeddings] != after[embeddings]).any(dim=1).nonzero().flatten().tolist()
    reasoning = Model.load(tiny_checkpoint).reasoning
    assert set(rows) <= {reasoning.think_start_id, reasoning.think_end_id}
    assert rows


def test_a_run_with_adapters_resumes_exactly(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = progress.JsonLines.write

    def write_and_interrupt(file: progress.JsonLines, metrics: dict[str, Any]) -> None:
        write(file, metrics)
        if metrics["step"] == 0:
            signal.raise_signal(signal.SIGINT)

    assert run(tmp_path / "whole", tiny_checkpoint, steps=2, tables=LORA) == 0
    monkeypatch.setattr(progress.JsonLines, "write", write_and_interrupt)
    assert run(tmp_path / "interrupted", tiny_checkpoint, steps=2, tables=LORA) == 130
    monkeypatch.undo()
    assert run(tmp_path / "interrupted", tiny_checkpoint, steps=2, tables=LORA, resume=True) == 0
    whole, resumed = (weights_of(tmp_path / name / "run" / "checkpoint") for name in ("whole", "interrupted"))
    assert changed(whole, resumed) == set()


@pytest.mark.parametrize(
    ("model", "tables", "message"),
    [
        ("no/such/folder", "", "model: there is no folder no/such/folder, nor is it bundled ("),
        ("smollm2", "", "model: smollm2 is not here yet: get it with `anytime models get smollm2`"),
        ("demo", "[tokenizer]\nvocab_size = 300\n", "tokenizer: Extra inputs are not permitted"),
        ("demo", "[lora]\nrank = 0\n", "lora.rank: Input should be greater than 0"),
    ],
)
def test_mistakes_name_the_key(
    model: str,
    tables: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run(tmp_path, model, steps=1, tables=tables) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("anytime train: ")
    assert message in error


@pytest.mark.nightly
@pytest.mark.parametrize("tables", ["", LORA], ids=["all", "lora"])
def test_a_real_model_is_trained_further(smollm2_checkpoint: Path, tmp_path: Path, tables: str) -> None:
    """One step. Its embeddings are tied to its output head, which the checkpoint must not store."""
    assert run(tmp_path, smollm2_checkpoint, steps=1, tables=tables) == 0
    before, after = weights_of(smollm2_checkpoint), weights_of(tmp_path / "run" / "checkpoint")
    assert "lm_head.weight" not in after
    assert "model.embed_tokens.weight" in changed(before, after)
    [line] = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    metrics: dict[str, Any] = json.loads(line)
    assert 0 < metrics["answer_loss"] < 12


@pytest.mark.nightly
def test_a_real_model_is_trained_by_brpo(smollm2_checkpoint: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "brpo.toml"
    recipe.write_text(
        f"""
        kind = "brpo"
        name = "smol"
        model = "{smollm2_checkpoint}"
        steps = 1
        [task]
        kind = "chain"
        [rollout]
        prompts = 2
        group_size = 2
        answers_per_budget = 2
        budgets = [4, 8]
        answer_tokens = 4
        [engine]
        kind = "transformers"
        window_tokens = 256
        [evaluation]
        problems = 2
        """
    )
    assert train([str(recipe), "--out", str(tmp_path / "run")]) == 0
    assert "lm_head.weight" not in weights_of(tmp_path / "run" / "checkpoint")
    assert Model.load(tmp_path / "run" / "checkpoint").manifest.trained == "brpo"
