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
