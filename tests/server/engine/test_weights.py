"""Checks of weight files against a checkpoint, by their headers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anytime_server.engine.weights import require_checksum, require_same_tensors
from anytime_server.errors import WeightSyncFailed
from safetensors.numpy import save_file

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
FREQUENCIES = "model.layers.0.self_attn.rotary_emb.inv_freq"
TIED = {"tie_word_embeddings": True}
UNTIED = {"tie_word_embeddings": False}


def compare(tmp_path: Path, *, config: dict[str, Any], stored: set[str], new: set[str]) -> None:
    """`require_same_tensors()` of files with tensors of these names."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "new" / "weights.safetensors"
    weights.parent.mkdir()
    for path, names in ((tmp_path / "model.safetensors", stored), (weights, new)):
        save_file({name: np.zeros((3, 2), np.float32) for name in names}, path)
    require_same_tensors(weights, tmp_path)


@pytest.mark.parametrize("config", [TIED, {"text_config": TIED}])
@pytest.mark.parametrize("head", [HEAD, f"language_model.{HEAD}"])
@pytest.mark.parametrize("stores", [True, False])
def test_a_tied_head_may_be_absent(tmp_path: Path, config: dict[str, Any], head: str, stores: bool) -> None:
    has, lacks = {EMBEDDING, head}, {EMBEDDING}
    compare(tmp_path, config=config, stored=has if stores else lacks, new=lacks if stores else has)


@pytest.mark.parametrize("config", [{}, UNTIED, {"text_config": UNTIED}])
@pytest.mark.parametrize("stores", [True, False])
def test_an_untied_head_may_not_be_absent(tmp_path: Path, config: dict[str, Any], stores: bool) -> None:
    has, lacks = {EMBEDDING, HEAD}, {EMBEDDING}
    with pytest.raises(WeightSyncFailed, match=HEAD):
        compare(tmp_path, config=config, stored=has if stores else lacks, new=lacks if stores else has)


def test_other_tensors_of_a_tied_model_may_not_be_absent(tmp_path: Path) -> None:
    with pytest.raises(WeightSyncFailed, match=f"lack {EMBEDDING}"):
        compare(tmp_path, config=TIED, stored={EMBEDDING, HEAD}, new={HEAD})


@pytest.mark.parametrize("stores", [True, False])
def test_frequencies_are_not_compared(tmp_path: Path, stores: bool) -> None:
    has, lacks = {HEAD, FREQUENCIES}, {HEAD}
    compare(tmp_path, config=UNTIED, stored=has if stores else lacks, new=lacks if stores else has)


def test_checksum(tmp_path: Path) -> None:
    path, content = tmp_path / "file", b"0123456789" * 100_000
    path.write_bytes(content)
    require_checksum(path, hashlib.sha256(content).hexdigest())
    with pytest.raises(WeightSyncFailed, match="checksum"):
        require_checksum(path, hashlib.sha256(content[1:]).hexdigest())
    with pytest.raises(WeightSyncFailed, match="cannot be read"):
        require_checksum(tmp_path, "0" * 64)
