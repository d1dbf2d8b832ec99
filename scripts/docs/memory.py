"""Markdown tables of the memory that models take: computed from their published sizes, not measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

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


_qwen3 = partial(Size, kv_heads=8, head_dim=128, window_tokens=40_960)
_r1 = partial(Size, kv_heads=8, head_dim=128, window_tokens=131_072)
_gpt_oss = partial(Size, kv_heads=8, head_dim=64, window_tokens=131_072)

QWEN3 = (
    _qwen3(name="Qwen3-4B", weights_gb=8.0, layers=36),
    _qwen3(name="Qwen3-8B", weights_gb=16.4, layers=36),
    _qwen3(name="Qwen3-8B-FP8", weights_gb=9.4, layers=36),
    _qwen3(name="Qwen3-14B", weights_gb=29.5, layers=40),
    _qwen3(name="Qwen3-30B-A3B", weights_gb=61.1, layers=48, kv_heads=4),
    _qwen3(name="Qwen3-32B", weights_gb=65.5, layers=64),
)
GPT_OSS = (
    _gpt_oss(name="gpt-oss-20b", weights_gb=13.8, layers=12),
    _gpt_oss(name="gpt-oss-120b", weights_gb=65.2, layers=18),
)
DEEPSEEK_R1 = (
    _r1(name="R1-Distill-Qwen-1.5B", weights_gb=3.6, layers=28, kv_heads=2),
    _r1(name="R1-Distill-Qwen-7B", weights_gb=15.2, layers=28, kv_heads=4),
    _r1(name="R1-Distill-Llama-8B", weights_gb=16.1, layers=32),
    _r1(name="R1-Distill-Qwen-14B", weights_gb=29.5, layers=48),
    _r1(name="R1-Distill-Qwen-32B", weights_gb=65.5, layers=64),
    _r1(name="R1-Distill-Llama-70B", weights_gb=141.1, layers=80),
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
