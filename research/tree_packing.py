"""What does training on trees save over training on flat rows?

Runs forward and backward passes over the same random rollouts, packed as trees and as flat rows (one tree or
one flat rollout per row, which suits dense masks best). The number of budgets, the answers per budget and the
thinking tokens grow one at a time. Each case runs in its own process, because its peak memory is measured.

    python research/tree_packing.py [--repeats N] [--hidden-size N] [--device cuda] ...
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from anytime_training.config.brpo import AttentionBackend
from anytime_training.config.loss import LossConfig
from anytime_training.loss import policy_loss
from anytime_training.policy import ATTENTION_IMPLEMENTATIONS, FLEX_BLOCK_TOKENS, token_logprobs
from anytime_training.tree import Branch, PackedRows, Segment, Tree, flatten, pack
from recording import RESULTS, write_record
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

BASE = {"budgets": 4, "answers": 4, "thinking_tokens": 512}
GRID: dict[str, tuple[int, ...]] = {
    "budgets": (1, 2, 4, 8),
    "answers": (1, 2, 4, 8),
    "thinking_tokens": (128, 256, 512, 1024),
}
VOCAB_SIZE, PAD_ID = 512, 0


def main() -> None:
    arguments = _parse()
    cases: list[dict[str, int]] = []
    for name, values in GRID.items():
        cases += [case for value in values if (case := BASE | {name: value}) not in cases]
    print(
        "budgets  answers  thinking | tokens: tree     flat  ratio | seconds: tree   flat  ratio "
        "| peak MiB: tree   flat | whole step at once: tree   flat  ratio"
    )
    # Forked from a process that has imported everything and computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__"])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        rows = [_compare(processes, arguments, case) for case in cases]
    write_record(
        RESULTS / "tree_packing.json",
        {"settings": vars(arguments), "cases": rows},
        device=None if arguments.device == "cpu" else torch.cuda.get_device_name(),
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=2, help="rollouts per step (default: %(default)s)")
    parser.add_argument("--prompt-tokens", type=int, default=32, help="default: %(default)s")
    parser.add_argument(
        "--answer-tokens", type=int, default=24, help="8 of which are inserted (default: %(default)s)"
    )
    parser.add_argument(
        "--micro-batch-tokens", type=int, default=4096, help="padding included (default: %(default)s)"
    )
    parser.add_argument("--hidden-size", type=int, default=128, help="of the model (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=4, help="of the model (default: %(default)s)")
    parser.add_argument("--backend", choices=list(ATTENTION_IMPLEMENTATIONS), default="sdpa")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    parser.add_argument("--dtype", default="float32", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="steps, of which the median counts (default: %(default)s)"
    )
    return parser.parse_args()


def _compare(
    processes: ProcessPoolExecutor, arguments: argparse.Namespace, case: dict[str, int]
) -> dict[str, Any]:
    """Measure both layouts of a case, and print a line of the table."""
    result: dict[str, Any] = dict(case)
    for layout in ("tree", "flat"):
        limited, held = (
            processes.submit(measure, arguments, case, layout=layout, at_once=at_once).result()
            for at_once in (False, True)
        )
        result[layout] = {**limited, "peak_mib_at_once": held["peak_mib"]}
    tree, flat = result["tree"], result["flat"]
    ratio = {name: flat[name] / tree[name] for name in tree}
    print(
        f"{case['budgets']:7}  {case['answers']:7}  {case['thinking_tokens']:8} "
        f"| {tree['tokens']:12} {flat['tokens']:8} {ratio['tokens']:6.2f} "
        f"| {tree['seconds']:13.2f} {flat['seconds']:6.2f} {ratio['seconds']:6.2f} "
        f"| {tree['peak_mib']:14.0f} {flat['peak_mib']:6.0f} | {tree['peak_mib_at_once']:24.0f} "
        f"{flat['peak_mib_at_once']:6.0f} {ratio['peak_mib_at_once']:6.2f}",
        flush=True,
    )
    return {**result, "flat_over_tree": ratio}


def measure(
    arguments: argparse.Namespace, case: dict[str, int], *, layout: str, at_once: bool
) -> dict[str, Any]:
    """Tokens, median seconds of a step, and the peak memory beyond the model's own.

    With `at_once`, all forward passes of the step come before its backward pass. The peak then shows what all
    activations of a step take, which micro-batches of a fixed size hide.
    """
    torch.set_num_threads(arguments.threads)
    backend: AttentionBackend = arguments.backend
    model = _build_model(arguments)
    trees = random_trees(
        arguments.rollouts,
        prompt_tokens=arguments.prompt_tokens,
        answer_tokens=arguments.answer_tokens,
        **case,
    )
    if layout == "flat":
        trees = [part for tree in trees for part in flatten(tree)]
    multiple_of = FLEX_BLOCK_TOKENS if backend == "flex" else 1
    rows = pack(trees, row_tokens=multiple_of, pad_id=PAD_ID, multiple_of=multiple_of).to(arguments.device)
    batches = list(rows.micro_batches(arguments.micro_batch_tokens))

    warm_up = pack([trees[-1]], row_tokens=multiple_of, pad_id=PAD_ID, multiple_of=multiple_of)
    _step(model, [warm_up.to(arguments.device)], backend, at_once=False)
    if arguments.device != "cpu":
        _step(model, batches, backend, at_once=False)  # kernels are compiled and tuned here
    before = _start_of_peak(arguments.device)
    seconds = []
    for _ in range(1 if at_once else arguments.repeats):
        started = time.perf_counter()
        _step(model, batches, backend, at_once=at_once)
        seconds.append(time.perf_counter() - started)
    return {
        "tokens": int(rows.num_tokens_R.sum()),
        "padded_tokens": sum(batch.ids_RT.numel() for batch in batches),
        "seconds": statistics.median(seconds),
        "peak_mib": (_peak(arguments.device) - before) / 2**20,
    }


def _step(
    model: Qwen3ForCausalLM, batches: list[PackedRows], backend: AttentionBackend, *, at_once: bool
) -> None:
    losses: list[Tensor] = []
    for batch in batches:
        tokens = batch.learned_tokens()
        logprobs_N = token_logprobs(model, batch, backend=backend)
        loss, _ = policy_loss(
            logprobs_N, logprobs_N, tokens, config=LossConfig(importance_cap=None), normaliser=1000.0
        )
        if at_once:
            losses.append(loss)
        else:
            loss.backward()
    if at_once:
        torch.stack(losses).sum().backward()
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _build_model(arguments: argparse.Namespace) -> Qwen3ForCausalLM:
    """A Qwen3 of random weights, by default of the bundled model's width."""
    torch.manual_seed(0)
    heads = max(1, arguments.hidden_size // 32)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCAB_SIZE,
            hidden_size=arguments.hidden_size,
            intermediate_size=3 * arguments.hidden_size,
            num_hidden_layers=arguments.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=32,
            max_position_embeddings=32_768,
            tie_word_embeddings=False,
            pad_token_id=PAD_ID,
        )
    )
    model.set_attn_implementation(ATTENTION_IMPLEMENTATIONS[arguments.backend])
    torch.nn.Module.to(model, arguments.device, getattr(torch, arguments.dtype))
    return model


def random_trees(
    number: int,
    *,
    budgets: int,
    answers: int,
    thinking_tokens: int,
    prompt_tokens: int,
    answer_tokens: int,
    vocab_size: int = VOCAB_SIZE,
) -> list[Tree]:
    """Rollouts whose thinking ends at the last of equally spaced budgets.

    Args:
        answer_tokens: tokens after the thinking, 8 of which are inserted.
    """
    rng = random.Random(0)

    def segment(num_fixed: int, num_learned: int) -> Segment:
        learned = [False] * num_fixed + [True] * num_learned
        return Segment(
            ids=[rng.randrange(1, vocab_size) for _ in learned],
            learned=learned,
            advantages=[rng.choice((-0.5, 0.5)) * is_learned for is_learned in learned],
            sampler_logprobs=[-1.0 * is_learned for is_learned in learned],
        )

    def branch(budget: int) -> Branch:
        return Branch(segment=segment(8, answer_tokens - 8), num_visible=prompt_tokens + budget)

    return [
        Tree(
            trunk=segment(prompt_tokens, thinking_tokens),
            branches=tuple(
                branch(thinking_tokens * number // budgets)
                for number in range(1, budgets + 1)
                for _ in range(answers)
            ),
        )
        for _ in range(number)
    ]


def _start_of_peak(device: str) -> int:
    """Reset the peak. Returns the bytes in use."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to VmRSS
    return _resident("VmRSS")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device != "cpu" else _resident("VmHWM")


def _resident(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
