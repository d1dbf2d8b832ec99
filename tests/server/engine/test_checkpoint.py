"""Damaged and incomplete checkpoints are refused in one line that names the file."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine.checkpoint import require_complete
from anytime_server.errors import UnusableModel

from ...servers import ANYTIME

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def truncated(name: str, num_bytes: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:num_bytes])

    return damage


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def containing(name: str, content: str = "") -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return damage


def with_wrong_header_size(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 40) + content[8:])


def configured(**fields: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return damage


def without_a_shard(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / SHARDS[0])
    (folder / INDEX).write_text(json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}))


def without_a_tensor(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"model.not_there": WEIGHTS}}))


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (truncated(WEIGHTS, 0), rf"{WEIGHTS}: .*incomplete"),
    (truncated(WEIGHTS, 1000), rf"{WEIGHTS}: .*incomplete"),
    (truncated(WEIGHTS, 100_000), rf"{WEIGHTS}: .*incomplete"),
    (with_wrong_header_size, rf"{WEIGHTS}: .*incomplete"),
    (without(WEIGHTS), "has no weights"),
    (without_a_shard, f"{SHARDS[1]} is missing; {INDEX} names it"),
    (without_a_tensor, f"{INDEX} names model.not_there, which is in no file"),
    (containing(INDEX, '{"weight_map": {'), f"{INDEX} is incomplete"),
    (containing(INDEX, "{}"), f"{INDEX} has no weight_map"),
    (truncated("tokenizer.json", 500), "tokenizer.json is incomplete"),
    (truncated("tokenizer_config.json", 9), "tokenizer_config.json is incomplete"),
    (truncated("generation_config.json", 0), "generation_config.json is incomplete"),
    (truncated("anytime.json", 50), "anytime.json is incomplete"),
    (truncated("config.json", 100), "config.json is incomplete"),
    (truncated("config.json", 0), "config.json is incomplete"),
    (containing("config.json", "[]"), "config.json names no architectures"),
    (configured(architectures=None), "config.json names no architectures"),
    (without("config.json"), "has no config.json"),
    (configured(hidden_size=96), "embeddings of size 64, config.json says 96"),
    (configured(num_hidden_layers=5), "weights of 2 layers, config.json says 5"),
    (containing("model-00002.safetensors.tmp"), r"safetensors\.tmp is still being written"),
    (containing(".cache/huggingface/download/x.incomplete"), r"x\.incomplete is still being written"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_refused(
    damage: Callable[[Path], None], message: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    damage(folder)
    with pytest.raises(UnusableModel, match=message) as refusal:
        require_complete(folder)
    assert str(folder) in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_an_unreadable_file_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()
    with pytest.raises(UnusableModel, match=r"tokenizer\.json cannot be read: Is a directory"):
        require_complete(folder)


def test_a_complete_checkpoint_passes(tiny_checkpoint: Path) -> None:
    require_complete(tiny_checkpoint)


def test_the_server_refuses_damage_in_one_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    truncated(WEIGHTS, 1000)(folder)
    command = [str(ANYTIME), "serve", "--model", str(folder), "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"anytime serve: {folder}/{WEIGHTS}: ")
    assert ended.stderr.count("\n") == 1
