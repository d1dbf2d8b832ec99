"""Checks of weight files: complete, and matching a checkpoint. Loads no tensor."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from anytime_server.errors import WeightSyncFailed


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file.

    Raises:
        ValueError: the file is incomplete.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error


def checkpoint_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in the safetensors files of a checkpoint.

    The error for a broken file is one line; vLLM's is two hundred.

    Raises:
        ValueError: a file is incomplete.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shapes |= tensor_shapes(path)
    return shapes


def require_checksum(path: Path, sha256: str) -> None:
    """Compare the checksum of a file. The file is not held in memory.

    Raises:
        WeightSyncFailed: the checksum differs, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightSyncFailed(f"{path} cannot be read: {error.strerror}") from error
    if found != sha256:
        raise WeightSyncFailed(f"the file's checksum is {found[:12]}…, not {sha256[:12]}…")


def is_computed(name: str) -> bool:
    """Whether a tensor of this name is no weight but position frequencies, which some checkpoints store."""
    return name.endswith(".inv_freq")


def require_same_tensors(weights: Path, folder: Path) -> None:
    """Check that a file of new weights has the tensors of the checkpoint.

    An output head tied to the embedding, and tensors that `is_computed()`, may be in either, both or neither.

    Raises:
        WeightSyncFailed: a tensor is missing, unknown, or of another shape.
    """
    try:
        new, old = tensor_shapes(weights), checkpoint_shapes(folder)
        is_tied = bool(old) and _has_tied_head(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError) as error:
        raise WeightSyncFailed(f"{weights} cannot be read: {error}") from error
    if old:
        require_same_shapes(*(_compared(shapes, is_tied=is_tied) for shapes in (new, old)))


def _has_tied_head(config: dict[str, Any]) -> bool:
    return any(part.get("tie_word_embeddings") is True for part in (config, config.get("text_config") or {}))


def _compared(shapes: dict[str, tuple[int, ...]], *, is_tied: bool) -> dict[str, tuple[int, ...]]:
    """The shapes without computed and tied tensors."""
    return {
        name: shape
        for name, shape in shapes.items()
        if not is_computed(name) and not (is_tied and f".{name}".endswith(".lm_head.weight"))
    }


def require_same_shapes(new: dict[str, tuple[int, ...]], old: dict[str, tuple[int, ...]]) -> None:
    """Compare the shapes of tensors by name.

    Raises:
        WeightSyncFailed: a tensor differs; names it.
    """
    for name in sorted(new.keys() | old.keys()):
        if name not in new:
            raise WeightSyncFailed(f"the new weights lack {name}")
        if name not in old:
            raise WeightSyncFailed(f"the new weights have {name}, which the model lacks")
        if new[name] != old[name]:
            raise WeightSyncFailed(f"{name} has shape {new[name]} in the new weights, not {old[name]}")
