"""Attention over cached keys and values without copying them, registered with transformers.

With a mask, transformers' own `sdpa` repeats keys and values for each query head that shares them: several
copies of the whole cache for every token. Here, query heads with the same key head become queries of it.

Dimensions: N rows, H query heads, K key heads, Q queries, T keys, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

SHARED_KEYS = "anytime_shared_keys"
"""Name of this attention in transformers."""
FEW_QUERIES = 16
"""Number of queries up to which two matrix products are faster on a CPU than PyTorch's kernel."""


def attend(
    module: torch.nn.Module,
    query_NHQD: torch.Tensor,
    key_NKTD: torch.Tensor,
    value_NKTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention.

    Args:
        attention_mask: (N, 1, Q, T), added to the scores.

    Returns:
        (N, Q, H, D).
    """
    assert attention_mask is not None
    num_rows, num_heads, num_queries, size = query_NHQD.shape
    num_key_heads = key_NKTD.shape[1]
    num_sharing = num_heads // num_key_heads
    query = query_NHQD.reshape(num_rows, num_key_heads, num_sharing * num_queries, size)
    if num_queries > 1 and num_sharing > 1:
        attention_mask = attention_mask.repeat(1, 1, num_sharing, 1)
    if query.device.type == "cpu" and num_sharing * num_queries <= FEW_QUERIES:
        scores = torch.matmul(query * (size**-0.5 if scaling is None else scaling), key_NKTD.transpose(2, 3))
        weights = torch.softmax(scores.add_(attention_mask), -1, dtype=torch.float32).to(query.dtype)
        mixed = torch.matmul(weights, value_NKTD)
    else:
        mask = attention_mask.expand(-1, -1, query.shape[2], -1)
        mixed = scaled_dot_product_attention(query, key_NKTD, value_NKTD, attn_mask=mask, scale=scaling)
    return mixed.reshape(num_rows, num_heads, num_queries, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(SHARED_KEYS, attend)
AttentionMaskInterface.register(SHARED_KEYS, sdpa_mask)
