"""How many tokens does stopping at agreeing answers save, and what does it cost in accuracy?

Held-out problems are asked with thinking to its natural end and with `stop_when`, with the same seeds. All
sampled tokens count: thinking, compared answers and the final answer.

    python bench/stop_when.py [--problems N] [--users N] [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from anytime_server.text.model import BUNDLED_MODEL
from anytime_training.tasks import Problem, Task
from client import events_of, exchange_all, native_request
from models import held_out
from records import parser_of, write_record
from scipy import stats
from servers import Server, anytime_server

ONE_TOKEN = {"max_tokens": 1}
"""Every right answer of this task is a digit. Without the limit, a token that ends the turn follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A way to ask: fields of the native dialect."""

    stop_when: dict[str, Any] | None = None
    budget: int | None = None
    answer: dict[str, Any]


def _stopping(
    stable: int, every_tokens: int, min_confidence: float, answer: dict[str, Any] = ONE_TOKEN
) -> Arm:
    policy = {"stable": stable, "every_tokens": every_tokens, "min_confidence": min_confidence}
    return Arm(stop_when=policy, answer=answer)


CHOSEN = _stopping(2, 8, 0.9)
"""Chosen on 2,000 problems of the validation split, of all policies with `stable` from 2 to 4 and
`every_tokens` from 1 to 16 whose accuracy did not differ measurably from that of the natural end: near the
policy that saves most, on the safer side."""
OTHERS = (
    _stopping(2, 8, 0.97),
    _stopping(2, 8, 0.0),
    _stopping(2, 8, 0.95, {}),  # as confident as CHOSEN: the mean of two tokens instead of one
    Arm(budget=40, answer=ONE_TOKEN),  # saves as much on the validation split, with one budget for all
)
WARM_START = BUNDLED_MODEL.with_name("demo-warmstart")


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Results of an arm: a number for each problem, in the order of the problems."""

    right: np.ndarray
    thinking: np.ndarray
    """Tokens, like the next two."""
    provisional: np.ndarray
    answer: np.ndarray
    stopped: np.ndarray
    """Whether the thinking ended before its natural end."""

    @property
    def tokens(self) -> np.ndarray:
        return self.thinking + self.provisional + self.answer


async def ask_all(
    server: Server,
    task: Task[Any],
    problems: Sequence[Problem],
    arms: Sequence[Arm],
    *,
    users: int,
    seed: int,
) -> list[Results]:
    """Ask every problem in each arm, one arm after the other. Returns the results of each arm."""
    requests = [
        native_request(
            problem.prompt,
            seed=seed * 1_000_003 + number,
            budget=arm.budget,
            answer=arm.answer,
            stop_when=arm.stop_when,
        )
        for number, problem in enumerate(problems)
        for arm in arms
    ]
    rows = list[tuple[float, ...]]()
    for index, exchange in enumerate(await exchange_all(server, requests, users=users)):
        done = json.loads(events_of(exchange)[-1][1].data)
        usage = done["usage"]
        rows.append(
            (
                task.grade(problems[index // len(arms)], done["answer"]),
                usage["thinking_tokens"],
                usage["provisional_tokens"],
                usage["answer_tokens"],
                done["stop"]["cause"] != "natural",
            )
        )
    return [
        Results(right=right, thinking=thinking, provisional=provisional, answer=answer, stopped=stopped)
        for arm in range(len(arms))
        for right, thinking, provisional, answer, stopped in (
            np.array(rows[arm :: len(arms)], dtype=float).T,
        )
    ]


def compare(arm: Arm, results: Results, natural: Results) -> dict[str, Any]:
    """Compare an arm with the natural end of the same thinking."""
    longest_first = np.argsort(-natural.thinking, kind="stable")
    return {
        **asdict(arm),
        "accuracy": results.right.mean(),
        "accuracy_natural": natural.right.mean(),
        "accuracy_difference": _with_interval(_difference, results.right, natural.right),
        "saved": _with_interval(_saved, results.tokens, natural.tokens),
        "saved_by_length": [  # thirds of the problems, from the longest natural thinking to the shortest
            {
                "natural_thinking_tokens": natural.thinking[third].mean(),
                "saved": float(_saved(results.tokens[third], natural.tokens[third])),
            }
            for third in np.array_split(longest_first, 3)
        ],
        "stopped": results.stopped.mean(),
        "tokens": _mean_tokens(results),
        "tokens_natural": _mean_tokens(natural),
    }


def _difference(values: np.ndarray, natural: np.ndarray, axis: int = -1) -> Any:
    return values.mean(axis) - natural.mean(axis)


def _saved(tokens: np.ndarray, natural: np.ndarray, axis: int = -1) -> Any:
    return 1 - tokens.sum(axis) / natural.sum(axis)


def _with_interval(
    statistic: Callable[..., Any], values: np.ndarray, natural: np.ndarray
) -> dict[str, float]:
    """A statistic of paired values, with its 95% percentile bootstrap interval over problems."""
    found = stats.bootstrap(
        (values, natural), statistic, paired=True, batch=500, n_resamples=10_000, method="percentile", rng=0
    )
    low, high = found.confidence_interval
    return {"value": float(statistic(values, natural)), "low": float(low), "high": float(high)}


def _mean_tokens(results: Results) -> dict[str, float]:
    return {
        "thinking": results.thinking.mean(),
        "provisional": results.provisional.mean(),
        "answer": results.answer.mean(),
        "all": results.tokens.mean(),
    }


def measure(folder: Path, arms: Sequence[Arm], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each arm, of one model."""
    task, problems = held_out(folder, arguments.problems, seed=arguments.seed)
    naturals = {str(arm.answer): Arm(answer=arm.answer) for arm in arms}
    every_arm = [*naturals.values(), *arms]
    with anytime_server("--model", str(folder)) as server:
        found = asyncio.run(
            ask_all(server, task, problems, every_arm, users=arguments.users, seed=arguments.seed)
        )
    natural_results = dict(zip(naturals, found, strict=False))
    rows = []
    for arm, results in zip(arms, found[len(naturals) :], strict=True):
        rows.append({"model": folder.name, "chosen": arm == CHOSEN})
        rows[-1] |= compare(arm, results, natural_results[str(arm.answer)])
        _print_row(rows[-1])
    return rows


def _print_row(row: dict[str, Any]) -> None:
    policy, limit = row["stop_when"], row["answer"].get("max_tokens", "-")
    how = f"budget {row['budget']}"
    if policy is not None:
        how = f"{policy['stable']} agree, every {policy['every_tokens']}, {policy['min_confidence']:.0%} sure"
    saved, lost = row["saved"], row["accuracy_difference"]
    print(
        f"{row['model']:14} {'*' if row['chosen'] else ' '} {how:27}  {limit!s:>6}"
        f"  {saved['value']:6.1%} [{saved['low']:6.1%}, {saved['high']:6.1%}]  {row['accuracy']:.3f}"
        f"  {lost['value']:+.4f} [{lost['low']:+.4f}, {lost['high']:+.4f}]  {row['stopped']:7.0%}",
        flush=True,
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--problems", type=int, default=1000, help="held-out problems (default: %(default)s)")
    parser.add_argument("--users", type=int, default=16, help="concurrent requests (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of problems and thinking (default: %(default)s)"
    )
    arguments = parser.parse_args()
    print(
        f"{'model':14}   {'stopped when':27}  {'answer':6}  {'saved':24}  {'right':5}"
        f"  {'difference':26}  stopped"
    )
    rows = measure(BUNDLED_MODEL, [CHOSEN, *OTHERS], arguments)
    rows += measure(WARM_START, [CHOSEN], arguments)
    write_record("stop_when", {"rows": rows}, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
