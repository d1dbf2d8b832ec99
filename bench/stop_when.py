"""How many tokens does stopping at agreeing answers save, and what does it cost in accuracy?

Held-out problems are asked over HTTP, with thinking to its natural end and with `stop_when`, from the same
seeds. All that was sampled counts: thinking, the answers that were compared, and the last one.
Usage: python bench/stop_when.py [--problems N]
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from anytime_server.text.model import BUNDLED_MODEL, Model
from anytime_training.evaluate import held_out_problems, task_of
from anytime_training.interval import paired_bootstrap
from anytime_training.tasks import Problem, Task
from serving import add_out, client_of, describe, serving, write_record

BOOTSTRAPS = 10_000
ONE_DIGIT = {"max_tokens": 1}
"""Of this task, every right answer is a digit; without the limit comes a token that ends the turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of asking, in the native dialect's terms."""

    stop_when: dict[str, Any] | None = None
    budget: int | None = None
    answer: dict[str, Any]


def _arm(stable: int, every_tokens: int, min_confidence: float, answer: dict[str, Any] = ONE_DIGIT) -> Arm:
    policy = {"stable": stable, "every_tokens": every_tokens, "min_confidence": min_confidence}
    return Arm(stop_when=policy, answer=answer)


CHOSEN = _arm(2, 8, 0.9)
"""By 2,000 problems of the validation split: near to what saves most, of all with `stable` from 2 to 4 and
`every_tokens` from 1 to 16 whose accuracy could not be told from the natural end's, and at its safer end."""
OTHERS = (
    _arm(2, 8, 0.97),
    _arm(2, 8, 0.0),
    _arm(2, 8, 0.95, {}),  # about as sure as CHOSEN, with the mean taken over two tokens
    Arm(budget=40, answer=ONE_DIGIT),  # saves as much on the validation split, by one budget for all
)
WARM_START = BUNDLED_MODEL.with_name("demo-warmstart")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Of one arm: a number for each problem, in their order."""

    right: np.ndarray
    thinking: np.ndarray
    """Tokens, as the two that follow."""
    provisional: np.ndarray
    answer: np.ndarray
    stopped: np.ndarray
    """Whether the thinking ended otherwise than by itself."""

    @property
    def tokens(self) -> np.ndarray:
        return self.thinking + self.provisional + self.answer


async def ask_all(
    client: httpx2.AsyncClient,
    task: Task[Any],
    problems: Sequence[Problem],
    arms: Sequence[Arm],
    *,
    users: int,
    seed: int,
) -> list[Outcomes]:
    """Ask every problem in all ways, one way after the other; `users` ask at the same time."""
    numbers = iter(range(len(problems)))
    found: list[list[tuple[float, ...]]] = [[()] * len(problems) for _ in arms]

    async def user() -> None:
        for number in numbers:
            problem = problems[number]
            for arm, rows in zip(arms, found, strict=True):
                body = asdict(arm) | {
                    "messages": [{"role": "user", "content": problem.prompt}],
                    "thinking": {"seed": seed * 1_000_003 + number},
                    "stream": False,
                }
                reply = (await client.post("/v1/anytime", json=body)).raise_for_status().json()
                usage = reply["usage"]
                rows[number] = (
                    task.grade(problem, reply["answer"]),
                    usage["thinking_tokens"],
                    usage["provisional_tokens"],
                    usage["answer_tokens"],
                    reply["stop"]["cause"] != "natural",
                )

    await asyncio.gather(*(user() for _ in range(users)))
    return [
        Outcomes(right=right, thinking=thinking, provisional=provisional, answer=answer, stopped=stopped)
        for right, thinking, provisional, answer, stopped in (np.array(rows, dtype=float).T for rows in found)
    ]


def compare(arm: Arm, outcomes: Outcomes, natural: Outcomes) -> dict[str, Any]:
    """A row of the table: one arm against the natural end of the same thinking."""
    difference = paired_bootstrap(outcomes.right[None], natural.right[None], seed=0, samples=BOOTSTRAPS)
    longest_first = np.argsort(-natural.thinking, kind="stable")
    return {
        **asdict(arm),
        "accuracy": outcomes.right.mean(),
        "accuracy_natural": natural.right.mean(),
        "accuracy_difference": _with_interval(*difference),
        "saved": _with_interval(*saved(outcomes.tokens, natural.tokens)),
        "saved_by_length": [  # of thirds of the problems, from the longest natural thinking to the shortest
            {
                "natural_thinking_tokens": natural.thinking[third].mean(),
                "saved": 1 - outcomes.tokens[third].sum() / natural.tokens[third].sum(),
            }
            for third in np.array_split(longest_first, 3)
        ],
        "stopped": outcomes.stopped.mean(),
        "tokens": _mean_tokens(outcomes),
        "tokens_natural": _mean_tokens(natural),
    }


def saved(tokens_N: np.ndarray, natural_N: np.ndarray) -> tuple[float, float, float]:
    """Share of all tokens that is saved, with its 95% percentile bootstrap interval over problems."""
    rng, count = np.random.default_rng(0), len(tokens_N)
    shares = []
    for _ in range(BOOTSTRAPS):
        counts_N = rng.multinomial(count, np.full(count, 1 / count))
        shares.append(1 - tokens_N @ counts_N / (natural_N @ counts_N))
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(1 - tokens_N.sum() / natural_N.sum()), float(low), float(high)


def _with_interval(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def _mean_tokens(outcomes: Outcomes) -> dict[str, float]:
    return {
        "thinking": outcomes.thinking.mean(),
        "provisional": outcomes.provisional.mean(),
        "answer": outcomes.answer.mean(),
        "all": outcomes.tokens.mean(),
    }


def measure(folder: Path, arms: Sequence[Arm], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each arm, on one model."""
    manifest = Model.load(folder).manifest
    task = task_of(None, manifest, folder=folder)
    problems = held_out_problems(task, arguments.problems, seed=arguments.seed)
    natural_answers = [*{str(arm.answer): arm.answer for arm in arms}.values()]
    naturals = [Arm(answer=answer) for answer in natural_answers]

    async def ask(url: str) -> list[Outcomes]:
        async with client_of(url) as client:
            return await ask_all(
                client, task, problems, [*naturals, *arms], users=arguments.users, seed=arguments.seed
            )

    with serving("--model", str(folder)) as url:
        outcomes = asyncio.run(ask(url))
    by_answer = dict(zip(map(str, natural_answers), outcomes, strict=False))
    rows = []
    for arm, one in zip(arms, outcomes[len(naturals) :], strict=True):
        rows.append({"model": folder.name, "chosen": arm == CHOSEN})
        rows[-1] |= compare(arm, one, by_answer[str(arm.answer)])
        _print_row(rows[-1])
    return rows


def _print_row(row: dict[str, Any]) -> None:
    policy, most = row["stop_when"], row["answer"].get("max_tokens", "-")
    how = f"budget {row['budget']}"
    if policy is not None:
        how = f"{policy['stable']} agree, every {policy['every_tokens']}, {policy['min_confidence']:.0%} sure"
    saved, lost = row["saved"], row["accuracy_difference"]
    print(
        f"{row['model']:14} {'*' if row['chosen'] else ' '} {how:27}  {most!s:>6}"
        f"  {saved['value']:6.1%} [{saved['low']:6.1%}, {saved['high']:6.1%}]  {row['accuracy']:.3f}"
        f"  {lost['value']:+.4f} [{lost['low']:+.4f}, {lost['high']:+.4f}]  {row['stopped']:7.0%}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=1000, help="of the test split (default: %(default)s)")
    parser.add_argument("--users", type=int, default=16, help="who ask at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of problems and thinking (default: %(default)s)")
    add_out(parser)
    arguments = parser.parse_args()
    print(
        f"{'model':14}   {'stopped when':27}  {'answer':6}  {'saved':24}  {'right':5}"
        f"  {'difference':26}  stopped"
    )
    rows = measure(BUNDLED_MODEL, [CHOSEN, *OTHERS], arguments)
    rows += measure(WARM_START, [CHOSEN], arguments)
    record = describe() | {
        "arguments": {name: getattr(arguments, name) for name in ("problems", "users", "seed")},
        "rows": rows,
    }
    write_record("stop_when", record, out=arguments.out, parser=parser)


if __name__ == "__main__":
    main()
