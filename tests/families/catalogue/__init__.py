"""The checkpoints, by maker or by the kind of their markers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.families.catalogue import channels, deepseek, dense, own_tags, qwen, tags, tekken
from tests.families.checkpoint import Checkpoint

CHECKPOINTS: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint
    for module in (qwen, deepseek, tekken, channels, tags, own_tags, dense)
    for checkpoint in module.CHECKPOINTS
}
EVERY_PUSH = {
    "qwen3",
    "deepseek-v3.1",
    "gpt-oss",
    "seed-oss",
    "hunyuan-a13b",
    "glm-4.6",
    "qwen3-instruct-2507",
}
"""Between them: each kind of marker, of switch and of end. Tests of the others run nightly."""


def parameters(checkpoints: Iterable[Checkpoint] = CHECKPOINTS.values()) -> list[Any]:
    """The checkpoints as parameters of a test or a fixture."""
    return [
        pytest.param(
            checkpoint,
            marks=() if checkpoint.name in EVERY_PUSH else pytest.mark.nightly,
            id=checkpoint.name,
        )
        for checkpoint in checkpoints
    ]
