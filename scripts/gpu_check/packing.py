"""Training on packed trees against training on flat rows: seconds of a step and peak memory, side by side.

Both are steps of the learner, with packing and optimiser, on the same rollouts with 4 budgets and 4 answers.
"""

from __future__ import annotations

import gc
import statistics
import time
from typing import Any

import torch
from anytime_training.config.brpo import LearnerConfig
from anytime_training.config.loss import LossConfig
from anytime_training.learner import Learner
from anytime_training.policy import ATTENTION_IMPLEMENTATIONS
from anytime_training.tree import Tree, flatten
from tree_packing import random_trees

from gpu_check.models import HALF_BILLION, TINY, random_model
from gpu_check.stages import Context

BUDGETS = ANSWERS = 4
ROLLOUTS = 4
ANSWER_TOKENS = 32
THINKING_TOKENS = (512, 1024, 2048, 4096)
REPEATS = 3
"""Measured steps, of which the median counts; a step before them compiles."""


def run(context: Context) -> None:
    shape = TINY if context.tiny else HALF_BILLION
    config = LearnerConfig(
        attention="sdpa" if context.tiny else "flex",
        bf16=not context.tiny,
        row_tokens=512 if context.tiny else 8192,
        micro_batch_tokens=1024 if context.tiny else 8192,
    )
    model = random_model(shape, attention=ATTENTION_IMPLEMENTATIONS[config.attention], device=context.device)
    learner = Learner(
        model,
        config=config,
        loss=LossConfig(importance_cap=None),
        pad_id=0,
        max_rollout_tokens=THINKING_TOKENS[-1] + ANSWER_TOKENS,
    )
    for thinking_tokens in (32,) if context.tiny else THINKING_TOKENS:
        trees = random_trees(
            ROLLOUTS,
            budgets=BUDGETS,
            answers=ANSWERS,
            thinking_tokens=thinking_tokens,
            prompt_tokens=32,
            answer_tokens=ANSWER_TOKENS,
            vocab_size=shape["vocab_size"],
        )
        tree = _measure(context, learner, [trees])
        flat = _measure(context, learner, [[part for tree in trees for part in flatten(tree)]])
        ratio = {name: round(flat[name] / value, 2) for name, value in tree.items() if value}
        context.report(f"thinking_{thinking_tokens}", {"tree": tree, "flat": flat, "flat_over_tree": ratio})


def _measure(context: Context, learner: Learner, trees_PG: list[list[Tree]]) -> dict[str, Any]:
    """Tokens, seconds of a step, and peak memory, weights included."""
    gc.collect()
    seconds: list[float] = []
    tokens = 0.0
    with PeakMemory() as memory:
        for number in range(2 if context.tiny else 1 + REPEATS):
            started_s = time.perf_counter()
            # Its statistics are read from the device, which waits for all but the optimiser's own kernels.
            tokens = learner.step(trees_PG, number=number, num_rollouts=ROLLOUTS)["packed_tokens"]
            memory.wait()
            seconds.append(time.perf_counter() - started_s)
    return {
        "tokens": int(tokens),
        "seconds": round(statistics.median(seconds[1:]), 4),
        "peak_mib": memory.peak_mib,
    }


class PeakMemory:
    """The most GPU memory that PyTorch used within the context; None without a GPU."""

    peak_mib: int | None = None

    def __enter__(self) -> PeakMemory:
        self._has_gpu = torch.cuda.is_available()
        if self._has_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_gpu:
            self.peak_mib = torch.cuda.max_memory_allocated() >> 20

    def wait(self) -> None:
        """Wait for the GPU."""
        if self._has_gpu:
            torch.cuda.synchronize()
