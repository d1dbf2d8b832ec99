"""Files that a run saves: the checkpoint, to be served, and the state that training resumes from.

Both are written under a temporary name and then renamed, so that they are complete at any time, on a full
disk as well. The checkpoint is a Hugging Face folder with an `anytime.json`; the state is one file of torch,
whose checksums are verified before it is used.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from anytime_server.errors import first_line
from anytime_server.reasoning import Manifest
from anytime_server.reasoning.manifest import MANIFEST_NAME
from safetensors import SafetensorError
from safetensors.torch import save_file

from anytime_training.errors import TrainingFailed
from anytime_training.run import CHECKPOINT_NAME, STATE_NAME

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

WEIGHTS_NAME = "model.safetensors"
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".svg")
"""Files of a checkpoint that hold its weights or its accuracy plot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """Everything that changes during training. The data follow from the seed and the step."""

    step: int
    """Optimiser steps done."""
    model: dict[str, torch.Tensor]
    """Weights, in float32."""
    optimiser: dict[str, Any]
    """State of the optimiser."""
    seconds: float
    """Seconds trained so far."""
    rollout_tokens: int = 0
    """Tokens sampled so far, in reinforcement learning."""
    credit: dict[str, torch.Tensor] = field(default_factory=dict)
    """State that credit assignment keeps of earlier steps, in reinforcement learning."""


def save_state(folder: Path, state: TrainingState) -> None:
    """Write the state into the run's folder; it replaces an earlier state.

    Raises:
        TrainingFailed: it cannot be written; the earlier state is unchanged.
    """
    partial = folder / f"{STATE_NAME}.partial"
    fields = {name: getattr(state, name) for name in TrainingState.__dataclass_fields__}
    with _naming_failures(partial):
        try:
            with partial.open("wb") as file:
                torch.save(fields, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        partial.replace(folder / STATE_NAME)
        _sync_names(folder)


def load_state(folder: Path) -> TrainingState | None:
    """The latest state in the run's folder, or None.

    Raises:
        TrainingFailed: the file is damaged.
    """
    path = folder / STATE_NAME
    if not path.exists():
        return None
    with _naming_damage(folder):
        with zipfile.ZipFile(path) as archive:  # torch's format, whose checksums torch itself does not verify
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"bad checksum of {damaged}")
            if any(entry.external_attr for entry in archive.infolist()):
                raise zipfile.BadZipFile("bad attributes")  # torch skips what it takes for a folder
        return TrainingState(**torch.load(path, weights_only=True, map_location="cpu"))


def resume_state(
    folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> TrainingState | None:
    """Load the latest state in the run's folder, if there is one, into model and optimiser.

    Raises:
        TrainingFailed: the file is damaged, or is the state of another model.
    """
    if (state := load_state(folder)) is not None:
        with _naming_damage(folder):
            model.load_state_dict(state.model)
            optimiser.load_state_dict(state.optimiser)
    return state


@contextmanager
def _naming_damage(folder: Path) -> Iterator[None]:
    """Within the context, whatever damage raises becomes a `TrainingFailed` that says what to do."""
    try:
        yield
    except Exception as error:  # zipfile, pickle and torch raise many kinds
        raise TrainingFailed(
            f"{folder / STATE_NAME} cannot be resumed from: {first_line(error)}. Restore the file, or start "
            f"a new run with another --out, perhaps from the model in {folder / CHECKPOINT_NAME}"
        ) from error


def save_checkpoint(
    folder: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, manifest: Manifest
) -> None:
    """Write a folder that can be served, with weights in bfloat16; it replaces an earlier folder."""
    weights = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    model.config.architectures = [type(model).__name__]
    config = type(model.config).from_dict(model.config.to_dict() | {"dtype": "bfloat16"})
    with replacing_folder(folder) as partial:
        _save_weights(weights, partial / WEIGHTS_NAME)
        config.save_pretrained(partial)
        model.generation_config.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        manifest.save(partial)


def save_trained_checkpoint(
    folder: Path, tensors: dict[str, torch.Tensor], start: Path, manifest: Manifest
) -> None:
    """Write a folder that can be served: new weights, and all other files of `start`.

    Args:
        tensors: weights by name, in the types to store.
        start: checkpoint that training started from.
    """
    with replacing_folder(folder) as partial:
        for path in start.iterdir():
            is_weights = path.suffix in WEIGHTS_SUFFIXES or path.name.endswith(".index.json")
            if path.is_file() and not is_weights and path.name != MANIFEST_NAME:
                shutil.copy(path, partial / path.name)
        config = json.loads((partial / "config.json").read_text(encoding="utf-8"))
        config.pop("torch_dtype", None)  # the older name of dtype
        config["dtype"] = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
        (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        _save_weights(tensors, partial / WEIGHTS_NAME)
        manifest.save(partial)


def _save_weights(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it readable by its owner alone


@contextmanager
def _naming_failures(path: Path) -> Iterator[None]:
    """Within the context, a full disk or another fault becomes a `TrainingFailed` that names the path."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:  # torch raises RuntimeError for a full disk
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise TrainingFailed(f"{path} cannot be written: {reason}; earlier files are unchanged") from error


def _sync_names(folder: Path) -> None:
    """Wait until the names of the folder's files are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill, which replaces `target` unless an exception is raised.

    `target` is never a mixture of old and new files. If a crash between the two renames left no `target`, the
    displaced folder is restored first.

    Raises:
        TrainingFailed: the folder cannot be written; `target` is unchanged.
    """
    partial = target.with_name(target.name + ".partial")
    displaced = target.with_name(target.name + ".displaced")
    with _naming_failures(target):
        if displaced.exists() and not target.exists():
            displaced.rename(target)
        for leftover in (partial, displaced):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            for path in partial.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            if target.exists():
                target.rename(displaced)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            if displaced.exists() and not target.exists():
                displaced.rename(target)
            raise
        _sync_names(target.parent)
        shutil.rmtree(displaced, ignore_errors=True)
