"""Markdown tables of the memory that models take: computed from their published sizes, not measured."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_server.engine.vllm import VllmOptions
from schemas import table

GIB = 1 << 30
GPUS = ((1, 16), (1, 24), (1, 80), (2, 80))
"""Number of GPUs, and GiB of each."""
USED = VllmOptions().gpu_memory_utilization
RESERVE_GIB = 2
"""Room for activations and CUDA graphs: a guess, vLLM measures it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model's sizes, as its card and its `config.json` publish them."""

    name: str
    weights_gb: float
    """In bfloat16, or as published if it is quantised."""
    layers: int
    """Layers whose attention keeps every token."""
    kv_heads: int
    head_dim: int
    window_tokens: int

    @property
    def bytes_per_token(self) -> int:
        """Of the KV cache in bfloat16: a key and a value."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2

    def room_tokens(self, num_gpus: int, gpu_gib: int) -> int:
        """Tokens of the KV cache that fit beside the weights on all GPUs together; 0 or less for none."""
        left = num_gpus * (USED * gpu_gib - RESERVE_GIB) * GIB - self.weights_gb * 1e9
        return int(left // self.bytes_per_token)


def _qwen3(name: str, weights_gb: float, layers: int, kv_heads: int = 8) -> Size:
    return Size(
        name=name,
        weights_gb=weights_gb,
        layers=layers,
        kv_heads=kv_heads,
        head_dim=128,
        window_tokens=40_960,
    )


def _r1(name: str, weights_gb: float, layers: int, kv_heads: int = 8) -> Size:
    return Size(
        name=name,
        weights_gb=weights_gb,
        layers=layers,
        kv_heads=kv_heads,
        head_dim=128,
        window_tokens=131_072,
    )


def _gpt_oss(name: str, weights_gb: float, layers: int) -> Size:
    return Size(
        name=name,
        weights_gb=weights_gb,
        layers=layers,
        kv_heads=8,
        head_dim=64,
        window_tokens=131_072,
    )


QWEN3 = (
    _qwen3("Qwen3-4B", 8.0, 36),
    _qwen3("Qwen3-8B", 16.4, 36),
    _qwen3("Qwen3-8B-FP8", 9.4, 36),
    _qwen3("Qwen3-14B", 29.5, 40),
    _qwen3("Qwen3-30B-A3B", 61.1, 48, 4),
    _qwen3("Qwen3-32B", 65.5, 64),
)
GPT_OSS = (_gpt_oss("gpt-oss-20b", 13.8, 12), _gpt_oss("gpt-oss-120b", 65.2, 18))
DEEPSEEK_R1 = (
    _r1("R1-Distill-Qwen-1.5B", 3.6, 28, 2),
    _r1("R1-Distill-Qwen-7B", 15.2, 28, 4),
    _r1("R1-Distill-Llama-8B", 16.1, 32),
    _r1("R1-Distill-Qwen-14B", 29.5, 48),
    _r1("R1-Distill-Qwen-32B", 65.5, 64),
    _r1("R1-Distill-Llama-70B", 141.1, 80),
)


def memory(sizes: tuple[Size, ...]) -> str:
    """The room for tokens on GPUs of each size."""
    columns = {
        "model": [size.name for size in sizes],
        "weights": [f"{size.weights_gb * 1e9 / GIB:.1f} GiB" for size in sizes],
        "a token": [f"{size.bytes_per_token / 1024:.0f} KiB" for size in sizes],
        "the whole window": [
            f"{size.window_tokens:,} tokens, {size.bytes_per_token * size.window_tokens / GIB:.1f} GiB"
            for size in sizes
        ],
    }
    for num, gib in GPUS:
        gpus = f"{gib} GiB" if num == 1 else f"{num} × {gib} GiB"
        columns[f"room in {gpus}"] = [_tokens(size.room_tokens(num, gib)) for size in sizes]
    return table(columns)


def _tokens(num: int) -> str:
    return f"{num // 1000:,},000 tokens" if num >= 1000 else "none"
