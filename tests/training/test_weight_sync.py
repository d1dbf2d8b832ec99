"""Weight transfer: every tensor, once, with its checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.engine import Engine
from anytime_training.weight_sync import own_tensors, sync_weights
from safetensors.torch import load_file
from transformers import Qwen3Config, Qwen3ForCausalLM


def model_of(*, tied: bool) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=20,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=16,
            tie_word_embeddings=tied,
        )
    )


@pytest.mark.parametrize("tied", [False, True])
def test_tensors_are_those_of_a_checkpoint(tied: bool, tmp_path: Path) -> None:
    model = model_of(tied=tied)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    own = own_tensors(model)
    assert own.keys() == stored.keys()
    assert all(torch.equal(own[name], stored[name]) for name in stored)


async def test_file_is_complete_when_the_engine_reads_it_and_gone_after(scripted: Any) -> None:
    model, engine = model_of(tied=False), scripted()
    await engine.start()
    seen: dict[str, Any] = {}

    async def update_weights(weights: Path, *, sha256: str, timeout_s: float) -> None:
        seen.update(tensors=load_file(weights), path=weights, timeout_s=timeout_s)
        assert hashlib.sha256(weights.read_bytes()).hexdigest() == sha256  # noqa: ASYNC240

    engine.update_weights = update_weights
    assert isinstance(engine, Engine)
    await sync_weights(model, engine, timeout_s=7)
    assert seen["timeout_s"] == 7
    for name, tensor in model.state_dict().items():
        assert torch.equal(seen["tensors"][name], tensor)
    assert not seen["path"].exists()
