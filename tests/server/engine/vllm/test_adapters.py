"""LoRA adapters on vLLM, and what is read of them before its start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from anytime_server.engine import EngineRequest, Generation, Sampling
from anytime_server.engine.vllm import VllmEngine, VllmOptions
from anytime_server.engine.vllm.adapters import lora_arguments
from anytime_server.errors import UnusableModel
from safetensors.torch import save_file
from transformers import AutoConfig

PROMPT = list(range(40, 110))


def write_adapter(folder: Path, *, rank: Any, seed: int = 0, hidden_size: int = 64) -> Path:
    """A random adapter of the output projections of the tiny checkpoint's attention."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    for layer in range(2 if isinstance(rank, int) else 0):
        name = f"base_model.model.model.layers.{layer}.self_attn.o_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(rank, hidden_size, generator=generator)
        weights[f"{name}.lora_B.weight"] = torch.randn(hidden_size, rank, generator=generator)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["o_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_the_largest_rank_and_the_number_of_adapters_decide(tmp_path: Path) -> None:
    adapters = {str(rank): write_adapter(tmp_path / str(rank), rank=rank) for rank in (4, 12)}
    assert lora_arguments({}, on_cpu=True) == {}
    common = {"enable_lora": True, "max_lora_rank": 16}
    assert lora_arguments(adapters, on_cpu=False) == common | {"max_loras": 2, "max_cpu_loras": 2}
    assert lora_arguments(adapters, on_cpu=True) == common | {"max_loras": 3, "max_cpu_loras": 3}


@pytest.mark.parametrize("rank", [0, 1024, "four"])
def test_ranks_that_vllm_does_not_take_are_refused(tmp_path: Path, rank: Any) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    with pytest.raises(UnusableModel, match=f"^--lora-modules: x: the rank {rank!r} is not within 1 to 512$"):
        lora_arguments({"x": folder}, on_cpu=True)


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "cannot be read: No such file"), ("{}", "gives no rank")]
)
def test_folders_without_an_adapter_are_refused(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(UnusableModel, match=f"^--lora-modules: x: .*adapter_config.json {reason}"):
        lora_arguments({"x": tmp_path}, on_cpu=True)


@pytest.mark.nightly
async def test_each_adapter_samples_in_its_own_way_and_caches_for_itself(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    size = AutoConfig.from_pretrained(tiny_checkpoint).hidden_size
    adapters = {
        name: write_adapter(tmp_path / name, rank=4, seed=seed, hidden_size=size)
        for seed, name in enumerate(("one", "two"))
    }
    engine = VllmEngine(tiny_checkpoint, options=VllmOptions(max_num_seqs=8), adapters=adapters)

    async def sampled(*names: str | None) -> list[Generation]:
        sampling = Sampling(max_tokens=12, temperature=0.0)
        return await engine.generate_all(
            [
                EngineRequest(id=str(name), prompt_ids=PROMPT, sampling=sampling, adapter=name)
                for name in names
            ]
        )

    await engine.start()
    try:
        alone = [(await sampled(name))[0] for name in (None, "one", "two")]
        together = await sampled(None, "one", "two")
    finally:
        await engine.stop()
    assert [generation.cached_tokens for generation in alone] == [0, 0, 0]
    assert all(generation.cached_tokens > 0 for generation in together)
    assert len({generation.token_ids for generation in alone}) == 3
    assert [generation.token_ids for generation in together] == [generation.token_ids for generation in alone]
