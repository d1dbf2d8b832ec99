"""Models of random weights: the shape of Qwen2 with half a billion weights, and tiny ones for a dry run."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

HALF_BILLION: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": True,
}
"""Qwen2-0.5B, as its config.json has it."""
MEDIUM: dict[str, Any] = HALF_BILLION | {
    "vocab_size": 4096,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
}
TINY: dict[str, Any] = MEDIUM | {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}


def random_model(shape: dict[str, Any], *, attention: str, device: str) -> Qwen2ForCausalLM:
    """A model in float32 with the same random weights every time.

    Args:
        attention: transformers' name of the attention implementation.
    """
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2ForCausalLM(Qwen2Config(**shape))
    model.set_attn_implementation(attention)
    return model.train()
