"""The policy's log-probabilities of the learned tokens of packed rows.

Owns the way of the mask into the model's attention, and the last layer over a large vocabulary. Knows neither
loss nor optimiser. The temperature is always 1, as in sampling: an importance ratio of other distributions
would mean nothing.

Dimensions: R rows, T tokens of a row, N learned tokens, C tokens of a chunk of them, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from anytime_training.config.brpo import AttentionBackend
from anytime_training.tree import PackedRows, attends

ATTENTION_IMPLEMENTATIONS: dict[AttentionBackend, str] = {"sdpa": "sdpa", "flex": "flex_attention"}
"""Hugging Face's name of each backend, with which the model must be loaded."""

FLEX_BLOCK_TOKENS = 128
"""Row lengths for FlexAttention are multiples of this: others gave NaN gradients (PyTorch #153799)."""

MAX_VARIANTS = 64
"""Maximum number of shapes and modes that FlexAttention is compiled for, each anew; 14 were seen."""


def require_full_attention(config: PreTrainedConfig) -> None:
    """Refuse a model with a layer that would not apply the mask of a tree.

    Raises:
        ValueError: naming the model's other kinds of attention.
    """
    text_config = config.get_text_config()
    layer_types = getattr(text_config, "layer_types", None)
    if layer_types is not None:
        others = sorted(set(layer_types) - {"full_attention"})
    else:
        others = [
            name for name in ("sliding_window", "attention_chunk_size") if getattr(text_config, name, None)
        ]
    if others:
        raise ValueError(
            f"{config.model_type}: trees need full attention in every layer, not {', '.join(others)}"
        )


def token_logprobs(
    model: PreTrainedModel, rows: PackedRows, *, backend: AttentionBackend, chunk_tokens: int | None = 1024
) -> Tensor:
    """Log-probability of every learned token.

    Args:
        model: a causal language model with full attention (`require_full_attention`) whose
            logits are a matrix times the last hidden state, loaded with the backend's
            `ATTENTION_IMPLEMENTATIONS`.
        rows: on the model's device; for `flex`, with a row length that is a multiple of `FLEX_BLOCK_TOKENS`.
        chunk_tokens: logits are computed for this many tokens at a time, and computed again in the backward
            pass. None computes them for all tokens at once, and keeps them.

    Returns:
        logprobs_N, row by row, as `rows.learned_tokens()`; in float32, or the model's type if that is wider.

    Raises:
        ValueError: the model or the rows do not suit the backend.
    """
    hidden_NH = hidden_states(model, rows, backend=backend)
    head = model.get_output_embeddings()
    assert head is not None
    targets_N = rows.ids_RT[:, 1:][rows.learned_RT[:, 1:]]
    return head_logprobs(head, hidden_NH, targets_N, chunk_tokens=chunk_tokens)


def hidden_states(model: PreTrainedModel, rows: PackedRows, *, backend: AttentionBackend) -> Tensor:
    """The last hidden state from which each learned token is predicted. Arguments: `token_logprobs`.

    Returns:
        hidden_NH, row by row, as `rows.learned_tokens()`.

    Raises:
        ValueError: the model or the rows do not suit the backend.
    """
    implementation = ATTENTION_IMPLEMENTATIONS[backend]
    if model.config._attn_implementation != implementation:
        raise ValueError(
            f"the {backend} backend needs a model with attn_implementation {implementation!r}, "
            f"not {model.config._attn_implementation!r}"
        )
    # Transformers passes masks of four dimensions, of either kind, to the layers unchanged.
    mask = block_mask(rows) if backend == "flex" else rows.mask_RTT()[:, None]
    hidden_RTH: Tensor = model.base_model(
        input_ids=rows.ids_RT, attention_mask=mask, position_ids=rows.positions_RT, use_cache=False
    ).last_hidden_state
    return hidden_RTH[:, :-1][rows.learned_RT[:, 1:]]


def head_logprobs(
    head: nn.Module, hidden_NH: Tensor, targets_N: Tensor, *, chunk_tokens: int | None
) -> Tensor:
    """Log-probability of each target under `head`, with at most `chunk_tokens` x V logits in memory.

    Returns:
        logprobs_N in float32, or in the head's type if that is wider.
    """

    def logprobs(hidden_CH: Tensor, targets_C: Tensor) -> Tensor:
        logits_CV: Tensor = head(hidden_CH)
        logits_CV = logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))
        return -nn.functional.cross_entropy(logits_CV, targets_C, reduction="none")

    if chunk_tokens is None:
        return logprobs(hidden_NH, targets_N)
    chunks = zip(hidden_NH.split(chunk_tokens), targets_N.split(chunk_tokens), strict=True)
    return torch.cat(
        [
            checkpoint(logprobs, hidden_CH, targets_C, use_reentrant=False, preserve_rng_state=False)
            for hidden_CH, targets_C in chunks
        ]
    )


@torch.no_grad()  # the compiler would make variants with and without a gradient
def block_mask(rows: PackedRows) -> BlockMask:
    """The mask of `rows` for FlexAttention, which skips blocks that are masked as a whole."""
    num_rows, length = rows.ids_RT.shape
    if length % FLEX_BLOCK_TOKENS:
        raise ValueError(f"rows of {length} tokens: FlexAttention needs a multiple of {FLEX_BLOCK_TOKENS}")
    create = _compiled_create_block_mask() if rows.ids_RT.is_cuda else create_block_mask
    return create(mask_mod(rows), num_rows, None, length, length, device=rows.ids_RT.device)


def mask_mod(rows: PackedRows) -> Callable[[Any, Any, Any, Any], Tensor]:
    """The mask of `rows` as a function of row, head, query and key, as FlexAttention takes it."""
    # The compiler tracks tensors in a function's closure, but not those in an object.
    tree_RT, branch_RT, visible_end_RT = rows.tree_RT, rows.branch_RT, rows.visible_end_RT

    def attends_in_head(row: Any, head: Any, query: Any, key: Any) -> Tensor:
        return attends(tree_RT, branch_RT, visible_end_RT, row, query, key)

    return attends_in_head


@cache
def _compiled_create_block_mask() -> Callable[..., BlockMask]:
    # Uncompiled, it materialises all R x T x T entries of the mask. Shapes are not marked dynamic: torch does
    # so when they first change, as every micro-batch has a shape of its own. One row, one block and a missing
    # gradient remain variants of their own. There are more than torch compiles by default, before it gives up
    # and runs FlexAttention uncompiled, with all scores in memory.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_VARIANTS)
    return torch.compile(create_block_mask)
