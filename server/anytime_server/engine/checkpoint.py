"""Checks that the folder of a checkpoint is complete, before an engine fails on it in its own way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from anytime_server.engine.weights import tensor_shapes
from anytime_server.errors import UnusableModel

UNFINISHED = ("*.tmp", "*.part", "*.partial", "*.incomplete", ".cache/huggingface/download/**/*.incomplete")
"""Names of files that are being written, and of the hub's downloads into a folder."""
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
LAYER = re.compile(r"model\.layers\.(\d+)\.")


def require_complete(folder: Path) -> None:
    """Check that no file is missing, truncated or unreadable. Reads no tensor.

    Raises:
        UnusableModel: the checkpoint is incomplete; names the file.
    """
    try:
        for path in folder.iterdir():
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise UnusableModel(f"{path} is not a file")  # reading a pipe would never end
        for path in _matching(folder, UNFINISHED):
            raise UnusableModel(f"{path} is still being written; if it is a leftover, remove it")
        contents = {path.name: _json(path) for path in sorted(folder.glob("*.json"))}
        config = contents.get("config.json")
        if config is None:
            raise UnusableModel(f"{folder} is not a checkpoint folder: it has no config.json", field="model")
        if not isinstance(config, dict) or not config.get("architectures"):
            raise UnusableModel(f"{folder / 'config.json'} names no architectures")
        _require_configured_sizes(folder, config, _weight_shapes(folder, contents))
    except OSError as error:
        raise UnusableModel(f"{error.filename or folder} cannot be read: {error.strerror}") from error


def _weight_shapes(folder: Path, contents: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor; checks the files of weights and their indexes."""
    if not any(_matching(folder, WEIGHTS)):
        raise UnusableModel(f"{folder} has no weights, such as model.safetensors")
    shapes: dict[str, tuple[int, ...]] = {}
    for path in _matching(folder, ("*.safetensors",)):
        try:
            shapes |= tensor_shapes(path)
        except ValueError as error:
            raise UnusableModel(f"{folder / str(error)}; the file is incomplete") from error
    for name, index in contents.items():
        if not name.endswith(".safetensors.index.json"):
            continue
        if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
            raise UnusableModel(f"{folder / name} has no weight_map")
        for shard in sorted({str(shard) for shard in index["weight_map"].values()}):
            if not (folder / shard).is_file():
                raise UnusableModel(f"{folder / shard} is missing; {name} names it")
        if missing := index["weight_map"].keys() - shapes:
            raise UnusableModel(f"{folder / name} names {min(missing)}, which is in no file")
    return shapes


def _require_configured_sizes(
    folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Compare two sizes that mixed up checkpoints rarely share. Additional layers may be draft layers."""
    for name in ("num_hidden_layers", "hidden_size"):
        if not isinstance(config.get(name) or 0, int):
            raise UnusableModel(f"{folder / 'config.json'} has a {name} that is no whole number")
    layers = [int(number[1]) for name in shapes if (number := LAYER.match(name))]
    num_layers, num_configured = max(layers, default=0) + 1, config.get("num_hidden_layers") or 0
    if layers and num_layers < num_configured:
        raise UnusableModel(f"{folder} has weights of {num_layers} layers, config.json says {num_configured}")
    size, embedding = config.get("hidden_size"), shapes.get("model.embed_tokens.weight")
    if size is not None and embedding and embedding[-1] != size and "quantization_config" not in config:
        raise UnusableModel(f"{folder} has embeddings of size {embedding[-1]}, config.json says {size}")


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnusableModel(f"{path} is incomplete, or not JSON: {error}") from error
