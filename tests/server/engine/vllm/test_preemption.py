"""Preemptions of the real vLLM, as it reports them."""

from __future__ import annotations

from pathlib import Path

import pytest
from anytime_server.engine import EngineRequest, Sampling
from anytime_server.engine.vllm import VllmEngine, VllmOptions


@pytest.mark.nightly
async def test_preemptions_are_counted(tiny_checkpoint: Path) -> None:
    """The KV cache has room for half of what these requests need."""
    engine = VllmEngine(tiny_checkpoint, options=VllmOptions(max_num_seqs=16, kv_cache_mib=1))
    await engine.start()
    try:
        assert engine.num_preemptions == 0
        sampling = Sampling(max_tokens=480, seed=1)
        requests = [
            EngineRequest(id=f"r{number}", prompt_ids=[number + 1] * 8, sampling=sampling)
            for number in range(16)
        ]
        done = await engine.generate_all(requests)
        assert [len(one.token_ids) for one in done] == [480] * 16
        assert engine.num_preemptions
    finally:
        await engine.stop()
