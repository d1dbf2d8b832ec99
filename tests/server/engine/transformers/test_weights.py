"""Weight updates of a running transformers engine: it samples from the new weights, or refuses them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.errors import EngineDead, WeightSyncFailed
from safetensors.torch import load_file, save_file

from ....checkpoints import with_config
from .conftest import PROMPT, Starter, plain_model, request_of, require_plain


def new_weights(folder: Path, target: Path, *, seed: int = 5) -> str:
    """Write a file of other random weights. Returns its checksum."""
    torch.manual_seed(seed)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: torch.randn_like(t.float()) * 0.2 for name, t in tensors.items()}, target)
    return checksum(target)


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_updates_give_identical_results_bit_for_bit(
    started: Starter, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    engine, path = await started(max_num_seqs=4), tmp_path / "new.safetensors"
    digest = new_weights(tiny_checkpoint, path)
    runs: list[list[tuple[Any, ...]]] = []
    for _ in range(3):
        await engine.update_weights(path, sha256=digest, timeout_s=30)
        requests = [request_of([n % 5, *PROMPT], max_tokens=5 + n % 17, seed=n) for n in range(40)]
        generations = await engine.generate_all(requests)
        runs.append([(g.token_ids, g.logprobs, g.cached_tokens) for g in generations])
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("head", ["own", "tied", "tied, stored"])
async def test_updated_weights_replace_the_old_ones(
    started: Starter, tiny_checkpoint: Path, tmp_path: Path, head: str
) -> None:
    """Everywhere: embedding, head and cache."""
    frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq"  # in some checkpoints
    before, after, path = tmp_path / "before", tmp_path / "after", tmp_path / "new.safetensors"
    with_config(tiny_checkpoint, before, tie_word_embeddings=head != "own")
    if head != "own":
        tensors = load_file(before / "model.safetensors")
        del tensors["lm_head.weight"]
        if head == "tied, stored":
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
            tensors[frequencies] = torch.ones(16)
        save_file(tensors, before / "model.safetensors", metadata={"format": "pt"})
    engine = await started(before)
    requests = [request_of([n, *PROMPT], max_tokens=20, temperature=0.0) for n in range(3)]
    old = await engine.generate_all(requests)
    digest = new_weights(before, path)
    if head == "tied, stored":
        tensors = load_file(path)
        del tensors["lm_head.weight"]
        save_file(tensors, path)
        digest = checksum(path)
    shutil.copytree(before, after)
    save_file(load_file(path), after / "model.safetensors", metadata={"format": "pt"})

    await engine.update_weights(path, sha256=digest, timeout_s=30)
    updated = await engine.generate_all(requests)
    fresh = await (await started(after)).generate_all(requests)
    assert [g.token_ids for g in updated] == [g.token_ids for g in fresh] != [g.token_ids for g in old]
    assert [g.cached_tokens for g in updated] == [g.cached_tokens for g in fresh]
    require_plain(plain_model(after), requests, updated)


@pytest.mark.parametrize("fault", ["checksum", "missing", "surplus", "shape", "no file", "no weights"])
async def test_mismatched_weights_are_refused_and_change_nothing(
    started: Starter, tiny_checkpoint: Path, tmp_path: Path, fault: str
) -> None:
    engine, path = await started(), tmp_path / "new.safetensors"
    (before,) = await engine.generate_all([request_of()])
    new_weights(tiny_checkpoint, path)
    tensors = load_file(path)
    if fault == "missing":
        del tensors["model.norm.weight"]
    elif fault == "surplus":
        tensors["model.norm.bias"] = torch.zeros(64)
    elif fault == "shape":
        tensors["model.norm.weight"] = torch.zeros(1)
    save_file(tensors, path)
    if fault == "no weights":
        path.write_bytes(b"no weights")
    digest = "0" * 64 if fault == "checksum" else checksum(path)
    if fault == "no file":
        path.unlink()
    with pytest.raises(WeightSyncFailed):
        await engine.update_weights(path, sha256=digest, timeout_s=30)
    (after,) = await engine.generate_all([request_of()])
    assert after.token_ids == before.token_ids
    assert after.logprobs == pytest.approx(before.logprobs, abs=1e-5)


async def test_an_update_that_takes_too_long_fails(started: Starter, tmp_path: Path) -> None:
    engine, path = await started(), tmp_path / "new.safetensors"
    os.mkfifo(path)  # a read blocks until there is a writer
    with pytest.raises(WeightSyncFailed, match=r"within 0\.1 s"):
        await engine.update_weights(path, sha256="0" * 64, timeout_s=0.1)
    path.write_bytes(b"at last")
    assert not engine.alive
    with pytest.raises(EngineDead):
        await engine.generate_all([request_of()])
