"""How many tokens the slots have room for."""

from __future__ import annotations

import pytest
import torch
from anytime_server.engine.transformers.kv_slots import Slots


def slots(num_tokens: int) -> Slots:
    """With memory for so many tokens, of 8 bytes each."""
    return Slots(
        [((1, 1), (1, 1))],
        dtype=torch.float32,
        device=torch.device("cpu"),
        max_slots=8,
        max_running=4,
        max_bytes=8 * num_tokens,
    )


@pytest.mark.parametrize(("memory", "expected"), [(1, 32), (40, 32), (250, 240), (256, 256), (513, 512)])
def test_a_sequence_of_all_the_tokens_fits_alone(memory: int, expected: int) -> None:
    made = slots(memory)
    assert made.max_tokens == expected
    assert made.fits(1, made.max_tokens)
    assert not made.fits(1, made.max_tokens + 1)
    made.reserve(1, made.max_tokens)
    assert made.length == made.max_tokens


def test_the_least_memory_takes_two_sequences() -> None:
    assert slots(1).fits(2, 16)
    assert not slots(1).fits(2, 17)
