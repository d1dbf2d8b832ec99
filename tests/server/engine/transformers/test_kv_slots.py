"""Capacity of the KV slots."""

from __future__ import annotations

import pytest
import torch
from anytime_server.engine.transformers.kv_slots import KvSlots


def slots(num_tokens: int) -> KvSlots:
    """Slots with memory for `num_tokens` tokens of 8 bytes."""
    return KvSlots(
        [((1, 1), (1, 1))],
        dtype=torch.float32,
        device=torch.device("cpu"),
        max_slots=8,
        max_running=4,
        max_bytes=8 * num_tokens,
    )


@pytest.mark.parametrize(("memory", "expected"), [(1, 32), (40, 32), (250, 240), (256, 256), (513, 512)])
def test_a_sequence_of_the_whole_capacity_fits_alone(memory: int, expected: int) -> None:
    made = slots(memory)
    assert made.max_tokens == expected
    assert made.fits(1, made.max_tokens)
    assert not made.fits(1, made.max_tokens + 1)
    made.reserve(1, made.max_tokens)
    assert made.length == made.max_tokens


def test_the_minimum_memory_has_two_slots() -> None:
    assert slots(1).fits(2, 16)
    assert not slots(1).fits(2, 17)
