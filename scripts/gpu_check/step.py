"""A BRPO step of a model with half a billion random weights: model FLOPs utilisation, memory and profile.

The transformers engine samples the rollouts and rewards are random; credit and learner are those of a run.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from anytime_server.text.model import BUNDLED_MODELS, Model
from anytime_training.config.brpo import BrpoRecipe
from anytime_training.credit import credit_trees
from anytime_training.rollout import Rollout, RolloutSampler, prompt_of
from anytime_training.start import build_engine, build_learner, load_start
from anytime_training.tree import Tree
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from gpu_check.models import HALF_BILLION, TINY, random_model
from gpu_check.packing import PeakMemory
from gpu_check.stages import CheckFailed, Context

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""NVIDIA's figures for dense bfloat16 products, by a part of the GPU's name."""
NUM_KERNELS = 20
MAX_MISMATCH = 0.1
"""In nats. Engine and learner have the same weights, here rounded to bfloat16 in the engine."""


def run(context: Context) -> None:
    shape = TINY if context.tiny else HALF_BILLION
    with tempfile.TemporaryDirectory() as folder:
        recipe = _recipe(context, Path(folder) / "model", shape)
        model = load_start(recipe)
        rollouts = asyncio.run(_sample(context, recipe, model))
        num_rollouts = recipe.rollout.prompts * recipe.rollout.group_size
        generator = torch.Generator().manual_seed(0)
        rewards_PGBA = torch.rand(
            (recipe.rollout.prompts, recipe.rollout.group_size, len(recipe.rollout.budgets), 4),
            generator=generator,
        ).round()
        trees_PG = credit_trees(rollouts, rewards_PGBA, recipe.rollout.budgets, recipe.credit)
        learner = build_learner(recipe, model, max_rollout_tokens=recipe.rollout.budgets[-1] + 16)

    def step(number: int) -> dict[str, float]:
        return learner.step(trees_PG, number=number, num_rollouts=num_rollouts)

    with PeakMemory() as memory:
        started_s = time.perf_counter()
        first = step(0)
        memory.wait()
        compiled_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        step(1)
        memory.wait()
        seconds = time.perf_counter() - started_s
    trees = [tree for trees_G in trees_PG for tree in trees_G]
    flops = model_flops(learner.model, trees)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    peak = next((value for part, value in PEAK_FLOPS.items() if part in name), None)
    context.report(
        "learn",
        {
            "weights": sum(parameter.numel() for parameter in learner.model.parameters()),
            "first_step_seconds": round(compiled_s, 3),
            "seconds": round(seconds, 4),
            "tokens_per_second": round(first["packed_tokens"] / seconds),
            "peak_mib": memory.peak_mib,
            "model_flops": flops,
            "peak_flops": peak,
            "mfu": peak and round(flops / seconds / peak, 4),
            "metrics": first,
        },
    )
    context.report("product_flops", _product_flops(context))
    context.report("profile", _profile(lambda: step(2)))
    if not first["mismatch"] <= MAX_MISMATCH:
        raise CheckFailed(f"engine and learner differ by {first['mismatch']:.3g} nats on average")


def _recipe(context: Context, folder: Path, shape: dict[str, Any]) -> BrpoRecipe:
    """A recipe, and its start checkpoint: the demo's tokenizer, which spells a part of the vocabulary."""
    shutil.copytree(BUNDLED_MODELS / "demo-warmstart", folder)
    model = random_model(shape, attention="sdpa", device=context.device)
    model.bfloat16().save_pretrained(folder)
    budgets = [4, 8, 12, 16] if context.tiny else [128, 256, 384, 512]
    return BrpoRecipe.model_validate(
        {
            "name": "gpu-check",
            "model": str(folder),
            "steps": 1,
            "rollout": {
                "prompts": 2,
                "group_size": 2 if context.tiny else 8,
                "budgets": budgets,
                "answers_per_budget": 4,
                "answer_tokens": 16,
            },
            "engine": {
                "kind": "transformers",
                "dtype": "float32" if context.tiny else "bfloat16",
                "kv_cache_mib": 64 if context.tiny else None,
            },
            "learner": {
                "attention": "sdpa" if context.tiny else "flex",
                "bf16": not context.tiny,
                "row_tokens": 512 if context.tiny else 4096,
                "micro_batch_tokens": 8192,
            },
        }
    )


async def _sample(context: Context, recipe: BrpoRecipe, model: Model) -> list[list[Rollout]]:
    engine = build_engine(recipe, model)
    rollout = recipe.rollout
    sampler = RolloutSampler(
        engine=engine,
        reasoning=model.reasoning,
        budgets=rollout.budgets,
        group_size=rollout.group_size,
        answers_per_budget=rollout.answers_per_budget,
        answer_tokens=rollout.answer_tokens or 16,
    )
    rng = random.Random(0)
    prompts = [prompt_of(model, recipe.task.sample(rng).prompt) for _ in range(rollout.prompts)]
    try:
        with PeakMemory() as memory:
            await engine.start()
            started_s = time.perf_counter()
            rollouts = await sampler.sample(prompts, seed="0")
            seconds = time.perf_counter() - started_s
    finally:
        await engine.stop()
    tokens = sum(sampled.num_sampled_tokens for rollouts_G in rollouts for sampled in rollouts_G)
    context.report(
        "sample",
        {
            "tokens": tokens,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens / seconds),
            "peak_mib": memory.peak_mib,
        },
    )
    return rollouts


def model_flops(model: PreTrainedModel, trees: list[Tree]) -> float:
    """Floating-point operations that a step needs: forward and backward, without recomputation.

    6 for each weight and token, where the embedding costs nothing and the head is for learned tokens; 12 for
    each number of a query and token that it attends to (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).

    Args:
        model: its head is tied to the embedding.
    """
    config, table = model.config, model.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    weights = sum(parameter.numel() for parameter in model.parameters()) - table.numel()
    segments = [segment for tree in trees for segment in (tree.trunk, *(b.segment for b in tree.branches))]
    num_learned = sum(sum(segment.learned) for segment in segments)
    num_pairs = sum(len(segment) * (len(segment) + 1) // 2 for segment in segments)
    num_pairs += sum(branch.num_visible * len(branch.segment) for tree in trees for branch in tree.branches)
    return float(
        6 * weights * sum(map(len, trees))
        + 6 * table.numel() * num_learned
        + 12 * num_pairs * config.hidden_size * config.num_hidden_layers
    )


def _product_flops(context: Context) -> float:
    """Operations per second of a large bfloat16 product: what this GPU reaches at best."""
    size = 128 if context.tiny else 8192
    left, right, product = (
        torch.randn(size, size, device=context.device, dtype=torch.bfloat16) for _ in range(3)
    )
    with PeakMemory() as memory:
        for _ in range(3):
            torch.mm(left, right, out=product)
        memory.wait()
        started_s = time.perf_counter()
        for _ in range(10):
            torch.mm(left, right, out=product)
        memory.wait()
    return 10 * 2 * size**3 / (time.perf_counter() - started_s)


def _profile(step: Any) -> list[dict[str, Any]]:
    """The kernels of a step that take the longest; operators of the CPU where there is no GPU."""
    has_gpu = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CUDA if has_gpu else ProfilerActivity.CPU]) as profiler:
        step()
        if has_gpu:
            torch.cuda.synchronize()
    events = profiler.key_averages()
    times = {
        event.key: event.self_device_time_total if has_gpu else event.self_cpu_time_total for event in events
    }
    total = max(1.0, sum(times.values()))
    longest = sorted(events, key=lambda event: -times[event.key])[:NUM_KERNELS]
    return [
        {
            "name": event.key[:120],
            "calls": event.count,
            "ms": round(times[event.key] / 1000, 3),
            "share": round(times[event.key] / total, 4),
        }
        for event in longest
    ]
