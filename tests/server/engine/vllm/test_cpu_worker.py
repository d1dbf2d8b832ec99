"""The size of the KV cache on a CPU."""

from __future__ import annotations

import pytest
from anytime_server.engine.environment import prepare_environment

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("sequence_bytes", "free_bytes", "num_workers", "expected"),
    [
        (MIB, 20 * GIB, 1, 256 * MIB),  # 80 sequences need less
        (8 * MIB, 20 * GIB, 1, 640 * MIB),
        (4 * GIB, 20 * GIB, 1, 10 * GIB),
        (4 * GIB, 20 * GIB, 2, 5 * GIB),
        (MIB, 100 * MIB, 1, 50 * MIB),
    ],
)
def test_the_cache_has_room_for_all_sequences_within_half_of_the_free_memory(
    sequence_bytes: int, free_bytes: int, num_workers: int, expected: int
) -> None:
    prepare_environment()  # before vLLM is imported
    from anytime_server.engine.vllm.cpu_worker import kv_cache_bytes

    size = kv_cache_bytes(
        sequence_bytes=sequence_bytes, num_seqs=80, free_bytes=free_bytes, num_workers=num_workers
    )
    assert size == expected


def test_no_state_is_kept_from_the_middle_of_a_step() -> None:
    prepare_environment()
    import torch
    from anytime_server.engine.vllm.cpu_worker import without_checkpoints
    from vllm.v1.kv_cache_interface import FullAttentionSpec, MambaSpec

    state = MambaSpec(
        block_size=32, shapes=((4, 4),), dtypes=(torch.float32,), num_prefill_checkpoint_blocks=1
    )
    kept = without_checkpoints(state)
    assert isinstance(kept, MambaSpec)
    assert (kept.num_prefill_checkpoint_blocks, kept.shapes) == (0, state.shapes)
    attention = FullAttentionSpec(block_size=32, num_kv_heads=2, head_size=32, dtype=torch.float32)
    assert without_checkpoints(attention) is attention
