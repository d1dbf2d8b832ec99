"""The window under a small KV cache, and the memory of a weight update."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
import torch
from anytime_server.engine import EngineRequest, Sampling
from anytime_server.engine.transformers import TransformersEngine, TransformersOptions
from anytime_server.errors import UnusableModel
from transformers import Qwen3Config, Qwen3ForCausalLM

Starter = Callable[[int | None], Awaitable[TransformersEngine]]


@pytest.fixture(name="checkpoint", scope="module")
def fixture_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A KV cache of one MiB has room for 248.2 tokens: 2 layers of 2 × 3 × 88 numbers of 4 bytes."""
    folder = tmp_path_factory.mktemp("odd")
    config = Qwen3Config(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=88,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(name="start")
async def fixture_start(checkpoint: Path) -> AsyncGenerator[Starter, None]:
    """Starts an engine with a window."""
    engines: list[TransformersEngine] = []

    async def start(window_tokens: int | None) -> TransformersEngine:
        options = TransformersOptions(
            device="cpu", dtype="float32", kv_cache_mib=1, window_tokens=window_tokens
        )
        engines.append(TransformersEngine(checkpoint, options=options))
        await engines[0].start()
        return engines[0]

    yield start
    await engines[0].stop()


@pytest.mark.parametrize(("option", "window"), [(None, 240), (240, 240), (235, 235)])
async def test_a_request_may_fill_the_window(start: Starter, option: int | None, window: int) -> None:
    engine = await start(option)
    assert engine.window_tokens == window
    requests = [
        EngineRequest(id=f"{n}", prompt_ids=[7] * (window - 5), sampling=Sampling(max_tokens=5, seed=n))
        for n in range(2)
    ]
    async with asyncio.timeout(20):
        generations = await engine.generate_all(requests)
    assert [len(generation.token_ids) for generation in generations] == [5, 5]


async def test_a_window_larger_than_the_kv_cache_is_refused(start: Starter) -> None:
    with pytest.raises(UnusableModel, match="has room for 240 tokens, not 245"):
        await start(245)


async def test_new_weights_are_not_in_memory_twice(start: Starter, checkpoint: Path) -> None:
    engine, path = await start(None), checkpoint / "model.safetensors"
    content = path.read_bytes()
    sha256, size = hashlib.sha256(content).hexdigest(), len(content)
    tracemalloc.start()
    try:
        await engine.update_weights(path, sha256=sha256, timeout_s=30)
        assert tracemalloc.get_traced_memory()[1] < size // 2
    finally:
        tracemalloc.stop()
