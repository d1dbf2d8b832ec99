"""FlexAttention on packed trees: its loss and gradients against SDPA's.

The reference is SDPA in float32 on flat rows, with a copy of the thinking for each answer. SDPA and
FlexAttention on packed trees are compared with it, in float32 and in bfloat16. A compiler that gives up on a
shape, and runs FlexAttention with all scores in memory, is an error.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from anytime_training.config.brpo import AttentionBackend
from anytime_training.config.loss import LossConfig
from anytime_training.loss import policy_loss
from anytime_training.policy import ATTENTION_IMPLEMENTATIONS, FLEX_BLOCK_TOKENS, token_logprobs
from anytime_training.tree import Tree, flatten, pack
from torch import Tensor, nn
from tree_packing import random_trees

from gpu_check.models import MEDIUM, TINY, random_model
from gpu_check.stages import CheckFailed, Context

LOSS = LossConfig(clip_low=0.999, clip_high=1e6, importance_cap=None)
"""Without clipping, whose edges would turn rounding errors into jumps."""
TREES = ((1, 200), (2, 1000), (3, 2000))
"""Number of trees of each length of thinking. Packed, they are batches of two shapes."""
TINY_TREES = ((1, 12), (1, 60))
ROW_TOKENS = 2560
MAX_ERROR = {"loss": 1e-4, "gradient": 1e-3}
"""In float32: of the mean loss of a token, absolute; of the gradient, relative."""
MAX_BF16_RATIO = 2.0
"""In bfloat16: FlexAttention's error may be this many times that of SDPA in bfloat16 ..."""
BF16_FLOOR = {"loss": 5e-3, "gradient": 2e-2}
"""... or this, where that is more."""


def run(context: Context) -> None:
    shape = TINY if context.tiny else MEDIUM
    trees = [
        tree
        for number, thinking_tokens in (TINY_TREES if context.tiny else TREES)
        for tree in random_trees(
            number,
            budgets=4,
            answers=1 if context.tiny else 4,
            thinking_tokens=thinking_tokens,
            prompt_tokens=8,
            answer_tokens=16,
            vocab_size=shape["vocab_size"],
        )
    ]
    flat = [part for tree in trees for part in flatten(tree)]
    reference = _loss_and_gradient(
        context, shape, flat, backend="sdpa", bf16=False, row_tokens=FLEX_BLOCK_TOKENS
    )
    failures: list[str] = []
    for bf16 in (False, True):
        errors: dict[str, dict[str, float]] = {}
        for backend in ("sdpa", "flex"):
            found = _loss_and_gradient(
                context, shape, trees, backend=backend, bf16=bf16, row_tokens=ROW_TOKENS
            )
            errors[backend] = _errors(found, reference)
        allowed = {
            name: max(floor, MAX_BF16_RATIO * errors["sdpa"][name]) if bf16 else MAX_ERROR[name]
            for name, floor in BF16_FLOOR.items()
        }
        dtype = "bfloat16" if bf16 else "float32"
        context.report(dtype, {**errors, "allowed": allowed})
        failures += [
            f"{backend} in {dtype}: {name} is off by {error:.2g}, more than {allowed[name]:.2g}"
            for backend, of_backend in errors.items()
            for name, error in of_backend.items()
            if not error <= allowed[name]
        ]
    if failures:
        raise CheckFailed("; ".join(failures))


def _loss_and_gradient(
    context: Context,
    shape: dict[str, Any],
    trees: list[Tree],
    *,
    backend: AttentionBackend,
    bf16: bool,
    row_tokens: int,
) -> tuple[float, Tensor]:
    """Mean loss of a token, and the gradient of all weights in one vector."""
    model = random_model(shape, attention=ATTENTION_IMPLEMENTATIONS[backend], device=context.device)
    rows = pack(trees, row_tokens=row_tokens, pad_id=0, multiple_of=FLEX_BLOCK_TOKENS).to(context.device)
    num_learned = int(rows.learned_RT.sum())
    loss = 0.0
    with flex_on_cpu() if context.tiny else _flex_must_be_compiled():
        for batch in rows.micro_batches(1024 if context.tiny else 8192):
            tokens = batch.learned_tokens()
            with torch.autocast(context.device, torch.bfloat16, enabled=bf16):
                if bf16:
                    with torch.no_grad():  # as a step with several mini-batches does first
                        token_logprobs(model, batch, backend=backend)
                logprobs_N = token_logprobs(model, batch, backend=backend)
            of_batch, _ = policy_loss(
                logprobs_N,
                torch.full_like(logprobs_N, -math.log(shape["vocab_size"])),
                tokens,
                config=LOSS,
                normaliser=num_learned,
            )
            of_batch.backward()
            loss += of_batch.item()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return loss, nn.utils.parameters_to_vector(gradients)


def _errors(found: tuple[float, Tensor], reference: tuple[float, Tensor]) -> dict[str, float]:
    gradient = (found[1] - reference[1]).norm() / reference[1].norm()
    return {"loss": abs(found[0] - reference[0]), "gradient": gradient.item()}


@contextmanager
def _flex_must_be_compiled() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "flex_attention called without torch.compile")
        yield


@contextmanager
def flex_on_cpu() -> Iterator[None]:
    """Run FlexAttention uncompiled, and lift its refusal of a backward pass on a CPU.

    Uncompiled, the backward pass is right on any device; it only needs the memory of all scores.
    """
    with (
        patch("torch.nn.attention.flex_attention._validate_device"),
        torch.compiler.set_stance("force_eager"),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        warnings.filterwarnings("ignore", ".*torch.jit.script_method")
        yield
