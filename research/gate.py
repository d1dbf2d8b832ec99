"""Is a task fit for experiments with BRPO? Figures of its start checkpoint, before any training.

    python research/gate.py training/recipes/demo-brpo.toml

BRPO's baseline can help only where success persists: where a wrong answer mostly stays wrong at the next
budget and a right one stays right, thinking lasts to the last segment, and no style of thinking is best for
nearly every problem. Samples rollouts of training problems as the first step of training would, and prints
each figure with its limit. The exit status is 1 where a figure is beyond its limit.

Dimensions: P prompts, G rollouts per prompt, B budgets, A answers per budget.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from anytime_training.baselines.base import reached_segments
from anytime_training.config import BrpoRecipe
from anytime_training.prior import budget_prior
from anytime_training.variance import normalised_variance
from plots import plot_variance
from recording import RESULTS, write_record
from start_rollouts import StartRollouts, read_recipe, sample_rollouts, start_engine

MIN_STYLE_ROLLOUTS = 3
"""Rollouts of a style on a problem with fewer of which its mean reward is not compared."""

AT_LEAST, AT_MOST = "at least", "at most"


def persistence(
    rewards_PGBA: torch.Tensor, kept_PGB: torch.Tensor
) -> tuple[list[float | None], list[float | None]]:
    """How often a wrong answer stays wrong, and a right one right, from each budget to the next.

    Answers of one thinking are independent given the thinking: every answer at a budget is compared with
    every answer at the next.

    Args:
        kept_PGB: rollouts that count at the later budget.

    Returns:
        Two lists of B - 1 shares; None where no answer is wrong, or right.
    """
    right_PGB = rewards_PGBA.double().mean(-1)
    wrong, right = (
        [
            _share(share_PGB[..., j], share_PGB[..., j + 1], kept_PGB[..., j + 1])
            for j in range(share_PGB.shape[-1] - 1)
        ]
        for share_PGB in (1 - right_PGB, right_PGB)
    )
    return wrong, right


def _share(before_PG: torch.Tensor, after_PG: torch.Tensor, kept_PG: torch.Tensor) -> float | None:
    total = before_PG[kept_PG].sum().item()
    return (before_PG * after_PG)[kept_PG].sum().item() / total if total else None


def style_of(thinking: str) -> str:
    """The first word of a thinking, up to a colon: "Quick" of "Quick: 4, 8"."""
    words = thinking.split(maxsplit=1)
    return words[0].split(":")[0] if words else ""


def best_styles(styles_PG: Sequence[Sequence[str]], rewards_PG: torch.Tensor) -> dict[str, float]:
    """Share of the problems for which each style is best, by its mean reward on the problem.

    Styles with fewer than `MIN_STYLE_ROLLOUTS` rollouts on a problem are left out of it. Styles that are
    equally good share the problem. A problem on which no style is left, or all rewards are equal, is skipped:
    it prefers no style.
    """
    shares: defaultdict[str, float] = defaultdict(float)
    num_problems = 0
    for styles_G, rewards_G in zip(styles_PG, rewards_PG.tolist(), strict=True):
        if len(set(rewards_G)) == 1:
            continue
        rewards: defaultdict[str, list[float]] = defaultdict(list)
        for style, reward in zip(styles_G, rewards_G, strict=True):
            rewards[style].append(reward)
        means = {
            style: math.fsum(own) / len(own)
            for style, own in rewards.items()
            if len(own) >= MIN_STYLE_ROLLOUTS
        }
        best = [style for style, mean in means.items() if math.isclose(mean, max(means.values()))]
        num_problems += bool(best)
        for style in best:
            shares[style] += 1 / len(best)
    return {
        style: round(share / num_problems, 4)
        for style, share in sorted(shares.items(), key=lambda item: -item[1])
    }


def figures(recipe: BrpoRecipe, start: StartRollouts) -> dict[str, Any]:
    """Accuracy, persistence, reach, variance and cost of rollouts."""
    rewards_PGBA, lengths_PGB = start.grades.rewards_PGBA, start.lengths_PGB
    reached_PGB = reached_segments(lengths_PGB)
    wrong, right = persistence(rewards_PGBA, reached_PGB)
    of_all = persistence(rewards_PGBA, torch.ones_like(reached_PGB))
    prior = recipe.credit.prior
    variance = normalised_variance(
        rewards_PGBA,
        lengths_PGB,
        start.budgets,
        budget_prior(prior, start.budgets),
        decay=recipe.credit.decay,
    )
    rollouts = [rollout for rollouts_G in start.rollouts for rollout in rollouts_G]
    thinking_tokens = sum(len(rollout.thinking.token_ids) for rollout in rollouts)
    sampled_tokens = sum(rollout.num_sampled_tokens for rollout in rollouts)
    return {
        "budgets": start.budgets,
        "prior": prior,
        "prompts": len(start.problems),
        "group_size": len(start.rollouts[0]),
        "answers_per_budget": rewards_PGBA.shape[-1],
        "reward": _rounded(rewards_PGBA.double().mean((0, 1, 3)).tolist()),
        "wrong_stays_wrong": _rounded(wrong),
        "right_stays_right": _rounded(right),
        "wrong_stays_wrong_with_finished": _rounded(of_all[0]),
        "right_stays_right_with_finished": _rounded(of_all[1]),
        "reached": _rounded(reached_PGB.double().mean((0, 1)).tolist()),
        "variance": {name: _rounded(values_B.tolist()) for name, values_B in variance.items()},
        "thinking_tokens": round(thinking_tokens / len(rollouts), 2),
        "answer_share": round(1 - thinking_tokens / sampled_tokens, 4),
    }


def checks(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Each figure of the gate with its limit."""
    v1, v2, brpo = (measured["variance"][name] for name in ("v1", "v2", "brpo"))
    pairs = list(zip(brpo, v2, strict=True))
    ratios = [None if None in pair or not pair[1] else pair[0] / pair[1] for pair in pairs]
    excess = [None if None in pair else pair[0] - pair[1] for pair in pairs]
    lines = (
        ("wrong answers that stay wrong to the next budget", measured["wrong_stays_wrong"], AT_LEAST, 0.75),
        ("right answers that stay right to the next budget", measured["right_stays_right"], AT_LEAST, 0.95),
        ("variance left by V1 at the last budget", v1[-1:], AT_MOST, 0.6),
        ("variance left by BRPO over V2's, last two budgets", ratios[-2:], AT_MOST, 0.7),
        ("variance left by BRPO less V2's, any budget", excess, AT_MOST, 0.05),
        ("rollouts that reach the last segment", measured["reached"][-1:], AT_LEAST, 0.5),
        ("problems with the most frequent best style", [*measured["best_style"].values()][:1], AT_MOST, 0.6),
        ("sampled tokens that are answers", [measured["answer_share"]], AT_MOST, 0.2),
    )
    return [_check(name, values, kind, limit) for name, values, kind, limit in lines]


def _check(name: str, values: Sequence[float | None], kind: str, limit: float) -> dict[str, Any]:
    """The worst of the values against its limit. A value that is not defined does not pass."""
    known = [value for value in values if value is not None]
    worst = (min if kind == AT_LEAST else max)(known) if known else None
    within = worst is not None and (worst >= limit if kind == AT_LEAST else worst <= limit)
    return {
        "check": name,
        "value": None if worst is None else round(worst, 4),
        "limit": f"{kind} {limit:g}",
        "passes": within and len(known) == len(values),
    }


async def measure(
    recipe: BrpoRecipe, *, num_prompts: int, style_prompts: int, style_group: int
) -> dict[str, Any]:
    """Sample rollouts as training does, and more of them on fewer problems for the styles."""
    budgets = recipe.rollout.budgets
    async with start_engine(recipe) as (model, engine):
        start = await sample_rollouts(
            recipe, model, engine, budgets=budgets, num_prompts=num_prompts, seed="gate"
        )
        styled = await sample_rollouts(
            recipe,
            model,
            engine,
            budgets=budgets,
            num_prompts=style_prompts,
            group_size=style_group,
            answers_per_budget=1,
            seed="styles",
        )
    styles_PG = [
        [style_of(model.tokenizer.decode(rollout.thinking.token_ids)) for rollout in rollouts_G]
        for rollouts_G in styled.rollouts
    ]
    measured = {
        "recipe": recipe.name,
        **figures(recipe, start),
        "style_prompts": style_prompts,
        "style_group_size": style_group,
        "best_style": best_styles(styles_PG, styled.grades.rewards_PGBA.double().mean((2, 3))),
    }
    gate = checks(measured)
    return {**measured, "gate": gate, "passes": all(line["passes"] for line in gate)}


def table(record: dict[str, Any]) -> Iterator[str]:
    """The figures, for people."""
    yield f"{'budget':34}" + "".join(f"{budget:8}" for budget in record["budgets"])
    rows = {
        "mean reward": record["reward"],
        "reach the segment": record["reached"],
        "wrong stays wrong until": [None, *record["wrong_stays_wrong"]],
        "right stays right until": [None, *record["right_stays_right"]],
        **{f"variance left by {name}": values for name, values in record["variance"].items()},
    }
    for name, values in rows.items():
        yield f"{name:34}" + "".join("       -" if value is None else f"{value:8.3f}" for value in values)
    yield "best style: " + ", ".join(
        f"{style!r} {share:.2f}" for style, share in record["best_style"].items()
    )
    for line in record["gate"]:
        value = "-" if line["value"] is None else f"{line['value']:.3f}"
        yield f"{'PASS' if line['passes'] else 'FAIL'}  {line['check']:50} {value:>6}, {line['limit']}"


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None or math.isnan(value) else round(value, 4) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--prompts", type=int, default=256, help="training problems (default: %(default)s)")
    parser.add_argument("--style-prompts", type=int, default=64, help="for styles (default: %(default)s)")
    parser.add_argument(
        "--group", type=int, default=24, help="rollouts of each of them (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="the record (default: results/gate-RECIPE.json)")
    parser.add_argument("--plot", type=Path, help="also plot the variance to this file")
    arguments = parser.parse_args()
    record = asyncio.run(
        measure(
            read_recipe(arguments.recipe),
            num_prompts=arguments.prompts,
            style_prompts=arguments.style_prompts,
            style_group=arguments.group,
        )
    )
    write_record(arguments.out or RESULTS / f"gate-{arguments.recipe.stem}.json", record)
    if arguments.plot:
        plot_variance(record["variance"], record["budgets"], arguments.plot)
    print("\n".join(table(record)))
    sys.exit(0 if record["passes"] else 1)


if __name__ == "__main__":
    main()
