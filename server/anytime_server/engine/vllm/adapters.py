"""LoRA adapters of a served model: their folders, and what vLLM has to know of them at its start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_server.errors import UnusableModel

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM can be prepared for."""
MAX_AT_ONCE = 8
"""Adapters that may share a step by default; each takes memory."""


def lora_arguments(adapters: Mapping[str, Path], *, on_cpu: bool) -> dict[str, Any]:
    """Arguments of `AsyncEngineArgs` with which these adapters can be served.

    On a CPU, vLLM 0.32 takes the last of its `max_loras` places for requests without an adapter that share a
    step with others, so that this place has to stay empty.

    Raises:
        UnusableModel: a folder has no adapter, or one that vLLM cannot be prepared for.
    """
    if not adapters:
        return {}
    largest = max(_rank(name, folder) for name, folder in adapters.items())
    return {
        "enable_lora": True,
        "max_loras": len(adapters) + 1 if on_cpu else min(len(adapters), MAX_AT_ONCE),
        "max_cpu_loras": len(adapters) + on_cpu,
        "max_lora_rank": next(rank for rank in RANKS if rank >= largest),
    }


def lora_requests(adapters: Mapping[str, Path]) -> dict[str, LoRARequest]:
    """How a request to vLLM names each adapter."""
    from vllm.lora.request import LoRARequest

    return {
        name: LoRARequest(lora_name=name, lora_int_id=number, lora_path=str(folder))
        for number, (name, folder) in enumerate(adapters.items(), start=1)
    }


def _rank(name: str, folder: Path) -> int:
    path = folder / "adapter_config.json"
    try:
        rank = json.loads(path.read_text(encoding="utf-8"))["r"]
    except OSError as error:
        raise UnusableModel(f"--lora-modules: {name}: {path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise UnusableModel(f"--lora-modules: {name}: {path} gives no rank `r`") from error
    if not isinstance(rank, int) or not 1 <= rank <= RANKS[-1]:
        raise UnusableModel(f"--lora-modules: {name}: the rank {rank!r} is not within 1 to {RANKS[-1]}")
    return rank
