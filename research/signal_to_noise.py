"""How much noise does each baseline leave in the policy gradient, before any training?

    python research/signal_to_noise.py training/recipes/demo-brpo.toml --prompts 128

Samples rollouts of the recipe's start checkpoint, and computes each prompt's gradient of the thinking under
each baseline of the configuration, with the recipe's prior, from the same rollouts. All baselines leave the
rollout itself out of its group, so that each is an unbiased estimate of the same gradient and they differ in
noise alone. Signal is the squared norm of the expected gradient, from products of different prompts, since a
step's prompts are drawn independently; noise is the trace of the covariance of one prompt's gradient.

The gradient is linear in the advantages and the importance ratios are 1: one backward pass for each rollout
and segment serves all baselines.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from anytime_training.baselines import BASELINES
from anytime_training.config import BrpoRecipe
from anytime_training.config.credit import CreditConfig
from anytime_training.credit import credit_trees
from anytime_training.policy import token_logprobs
from anytime_training.prior import segments
from anytime_training.signal_to_noise import CountSketch, Moments, moments
from anytime_training.start import load_network
from anytime_training.tree import Tree, pack
from plots import plot_signal
from recording import RESULTS, write_record
from start_rollouts import StartRollouts, read_recipe, sample_rollouts, start_engine
from torch import Tensor
from transformers import PreTrainedModel

MEASURED = [name for name, entry in BASELINES.items() if not entry.needs_values]
"""Baselines of rewards alone. A value head has no predictions before the first step of training."""
REFERENCE = "v2_only"
"""Baseline that the traces of the others are compared with."""
ALL = "all"
"""Name of the figures over all segments."""


def segment_weights(trees: Sequence[Tree], budgets: Sequence[int]) -> Tensor:
    """Advantage of each rollout's thinking in each segment: weights_GB, 0 where it has no token there.

    Raises:
        ValueError: tokens of one segment have different advantages.
    """
    weights_GB = torch.zeros(len(trees), len(budgets))
    for weights_B, tree in zip(weights_GB, trees, strict=True):
        advantages_T = torch.tensor(_of_learned(tree))
        segments_T = segments(len(advantages_T), budgets)
        weights_B[segments_T] = advantages_T
        if not torch.equal(weights_B[segments_T], advantages_T):
            raise ValueError("tokens of one segment have different advantages")
    return weights_GB


class Gradients:
    """Sketched gradients of the log-probabilities of a rollout's tokens."""

    def __init__(self, network: PreTrainedModel, *, pad_id: int, num_entries: int) -> None:
        self._network = network
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._pad_id = pad_id
        self._sketch = CountSketch(sum(one.numel() for one in self._parameters), num_entries)
        self.num_entries = min(num_entries, sum(one.numel() for one in self._parameters))

    def of_segments(self, tree: Tree, budgets: Sequence[int]) -> Tensor:
        """Gradient of the summed log-probability of each segment's thinking: sketches_BK."""
        num_tokens = len(_of_learned(tree))
        sketches_BK = torch.zeros(len(budgets), self.num_entries)
        if num_tokens:
            segments_N = segments(num_tokens, budgets)
            reached = sorted(set(segments_N.tolist()))
            weights = torch.stack([(segments_N == segment).float() for segment in reached])
            sketches_BK[reached] = self._weighted(replace(tree, branches=()), weights)
        return sketches_BK

    def of_answers(self, tree: Tree) -> Tensor:
        """Gradient of the answers, weighted by their advantages: sketch_K. The thinking has advantage 0."""
        return self._weighted(tree, None)[0]

    def _weighted(self, tree: Tree, weights_XN: Tensor | None) -> Tensor:
        """Gradient of each weighted sum of a tree's log-probabilities; None takes its advantages."""
        device = self._parameters[0].device
        rows = pack([tree], row_tokens=len(tree), pad_id=self._pad_id).to(device)
        if weights_XN is None:
            weights_XN = rows.learned_tokens().advantages_N[None]
        logprobs_N = token_logprobs(self._network, rows, backend="sdpa", chunk_tokens=None)
        vectors = []
        for number, weights_N in enumerate(weights_XN.to(device), 1):
            gradients = torch.autograd.grad(
                logprobs_N, self._parameters, weights_N, retain_graph=number < len(weights_XN)
            )
            vectors.append(torch.cat([gradient.flatten() for gradient in gradients]))
        return self._sketch(torch.stack(vectors))


def measure(
    recipe: BrpoRecipe, start: StartRollouts, gradients: Gradients, baselines: Sequence[str]
) -> dict[str, Any]:
    """Signal, noise and their ratio for each baseline, over all tokens and by segment, and for answers."""
    budgets, num_baselines = start.budgets, len(baselines)
    sketches = torch.zeros(len(start.problems), num_baselines, len(budgets), gradients.num_entries)
    answers_PK = torch.zeros(len(start.problems), gradients.num_entries)
    trees_of = [_trees(recipe, start, {"baseline": name, "summary": "none"}) for name in baselines]
    answer_trees = _trees(recipe, start, {"baseline": baselines[0]})
    for p in range(len(start.problems)):
        weights = torch.stack([segment_weights(trees_PG[p], budgets) for trees_PG in trees_of])
        for g, tree in enumerate(trees_of[0][p]):
            of_segments_BK = gradients.of_segments(tree, budgets) / len(trees_of[0][p])
            sketches[p] += weights[:, g, :, None] * of_segments_BK
        for tree in answer_trees[p]:
            if any(any(branch.segment.advantages) for branch in tree.branches):
                answers_PK[p] += gradients.of_answers(_without_thinking(tree)) / len(answer_trees[p])
    thinking: dict[str, dict[str, Any]] = {}
    for segment, by_baseline in _by_segment(sketches, baselines, budgets):
        reference = by_baseline.get(REFERENCE)
        thinking[segment] = {name: _figures(found, reference) for name, found in by_baseline.items()}
    return {"thinking": thinking, "answers": _figures(moments(answers_PK), None)}


def _figures(found: Moments, reference: Moments | None) -> dict[str, Any]:
    """Signal, trace and their ratio, and the trace relative to that of a reference."""
    figures = {"signal": found.signal, "trace": found.trace, "signal_to_noise": found.ratio}
    if reference is not None:
        figures["relative_trace"] = found.relative_trace(reference)
    return {name: estimate.rounded() for name, estimate in figures.items()}


def _by_segment(
    sketches: Tensor, baselines: Sequence[str], budgets: Sequence[int]
) -> Iterator[tuple[str, dict[str, Moments]]]:
    """The moments of each baseline over all segments, then in each segment, by its budget."""
    yield ALL, {name: moments(sketches[:, e].sum(1)) for e, name in enumerate(baselines)}
    for j, budget in enumerate(budgets):
        yield str(budget), {name: moments(sketches[:, e, j]) for e, name in enumerate(baselines)}


def _trees(recipe: BrpoRecipe, start: StartRollouts, update: dict[str, Any]) -> list[list[Tree]]:
    """Trees of all rollouts, with the advantages of the recipe's credit assignment after an update."""
    credit = CreditConfig.model_validate(recipe.credit.model_dump() | update | {"leave_one_out": True})
    return credit_trees(start.rollouts, start.grades.rewards_PGBA, start.budgets, credit, keep_all=True)


def _of_learned(tree: Tree) -> list[float]:
    """Advantages of the learned tokens of the thinking."""
    trunk = tree.trunk
    return [value for value, learned in zip(trunk.advantages, trunk.learned, strict=True) if learned]


def _without_thinking(tree: Tree) -> Tree:
    """The tree with an advantage of 0 for its thinking."""
    return replace(tree, trunk=replace(tree.trunk, advantages=[0.0] * len(tree.trunk)))


async def run(
    recipe: BrpoRecipe, *, num_prompts: int, num_entries: int, baselines: list[str]
) -> dict[str, Any]:
    """Sample rollouts, then measure."""
    budgets = recipe.rollout.trained_budgets
    async with start_engine(recipe) as (model, engine):
        start = await sample_rollouts(
            recipe, model, engine, budgets=budgets, num_prompts=num_prompts, seed="signal"
        )
    torch.set_num_threads(recipe.learner.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_network(model.folder, attention="sdpa").to(torch.device(device)).eval()  # pyright: ignore[reportCallIssue, reportArgumentType]
    gradients = Gradients(network, pad_id=min(model.reasoning.eos_ids), num_entries=num_entries)
    started = time.monotonic()
    measured = measure(recipe, start, gradients, baselines)
    return {
        "recipe": recipe.name,
        "budgets": budgets,
        "prior": recipe.credit.prior,
        "prompts": num_prompts,
        "group_size": recipe.rollout.group_size,
        "answers_per_budget": recipe.rollout.answers_per_budget,
        "sketch_entries": gradients.num_entries,
        "gradient_seconds": round(time.monotonic() - started, 1),
        **measured,
    }


def table(record: dict[str, Any]) -> str:
    """The figures, for people."""
    lines = [f"{'segment':8} {'baseline':12} {'signal/trace of a prompt':>34}  {'trace over V2':>24}"]
    for segment, baselines in record["thinking"].items():
        for name, found in baselines.items():
            lines.append(
                f"{segment:8} {name:12} {_shown(found['signal_to_noise']):>34}  "
                f"{_shown(found['relative_trace']) if 'relative_trace' in found else '':>24}"
            )
    lines.append(f"{'answers':21} {_shown(record['answers']['signal_to_noise']):>34}")
    return "\n".join(lines)


def _shown(estimate: dict[str, float | None]) -> str:
    value, low, high = ("-" if one is None else f"{one:.3g}" for one in estimate.values())
    return f"{value} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--prompts", type=int, default=128, help="training problems (default: %(default)s)")
    parser.add_argument("--entries", type=int, default=16384, help="of a sketch (default: %(default)s)")
    parser.add_argument("--baselines", nargs="+", choices=MEASURED, default=MEASURED)
    parser.add_argument("--out", type=Path, help="the record (default: results/signal-RECIPE.json)")
    parser.add_argument("--plot", type=Path, help="also plot the figures to this file")
    arguments = parser.parse_args()
    record = asyncio.run(
        run(
            read_recipe(arguments.recipe),
            num_prompts=arguments.prompts,
            num_entries=arguments.entries,
            baselines=arguments.baselines,
        )
    )
    write_record(arguments.out or RESULTS / f"signal-{arguments.recipe.stem}.json", record)
    if arguments.plot:
        plot_signal(record, arguments.plot)
    print(table(record))


if __name__ == "__main__":
    main()
