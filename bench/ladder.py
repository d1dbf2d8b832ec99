"""What do answers at several budgets cost: from one request that names them all, and from a request for each?

Users ask one request after another: to think to a budget and answer (alone), the same with provisional
answers at three lower budgets (ladder), and four requests in sequence, one for each of the four budgets
(separate). The model has random weights and never ends its thinking by itself, so that all thinking is as
long as its budget.
Usage: python bench/ladder.py [--users 1 8 32] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from anytime_training.demo.recipe import ModelConfig
from random_model import write_random_model
from serving import Answer, add_out, answer_of, client_of, describe, serving, write_record

BUDGETS = (64, 128, 192, 256)
ANSWER_TOKENS = 16
MODEL = ModelConfig(
    hidden_size=256, num_layers=6, num_heads=8, num_key_value_heads=8, mlp_size=768, window_tokens=2048
)
LEAST_ASKS = 2
"""Of each kind in a round, by all users together."""
RATIOS = {
    "ladder_over_alone": ("ladder", "alone"),
    "separate_over_alone": ("separate", "alone"),
    "ladder_over_separate": ("ladder", "separate"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a user waited for."""

    total_s: float
    """Until all answers were there."""
    thinking_s: float
    """Until the last thinking token of the largest budget was there, from when its request was sent."""


Ask = Callable[[httpx2.AsyncClient, str, int], Awaitable[Result]]
"""Get what the user wants to know about a prompt, with a seed."""


async def alone(client: httpx2.AsyncClient, prompt: str, seed: int) -> Result:
    """The answer at the largest budget, and no other."""
    return _result([await answer_of(client, prompt, seed=seed, budget=BUDGETS[-1])])


async def ladder(client: httpx2.AsyncClient, prompt: str, seed: int) -> Result:
    """Answers at all budgets, from one request."""
    answer = await answer_of(client, prompt, seed=seed, budget=BUDGETS[-1], budgets=BUDGETS[:-1])
    at = [event["at_tokens"] for _, event in answer.events if event["type"] == "answer.done"]
    if sorted(at) != list(BUDGETS):
        raise RuntimeError(f"there were answers at {at}, not at {BUDGETS}")
    return _result([answer])


async def separate(client: httpx2.AsyncClient, prompt: str, seed: int) -> Result:
    """Answers at all budgets, from a request for each, one after another."""
    return _result([await answer_of(client, prompt, seed=seed, budget=budget) for budget in BUDGETS])


def _result(answers: Sequence[Answer]) -> Result:
    last = answers[-1]
    if last.stop["thinking_tokens"] != BUDGETS[-1]:
        raise RuntimeError(f"it was to think for {BUDGETS[-1]} tokens: {last.stop}")
    return Result(total_s=sum(answer.latency_s for answer in answers), thinking_s=last.thinking_s[-1])


KINDS: dict[str, Ask] = {"alone": alone, "ladder": ladder, "separate": separate}


async def round_of(client: httpx2.AsyncClient, ask: Ask, *, users: int, seeds: Iterable[int]) -> Result:
    """All users ask, each one request after another; means over what they got."""
    waiting = iter(seeds)
    results: list[Result] = []

    async def user() -> None:
        for seed in waiting:
            results.append(await ask(client, f"Problem {seed}: 7 - 3 + 5 x 4 =", seed))

    await asyncio.gather(*(user() for _ in range(users)))
    return Result(
        total_s=statistics.mean(result.total_s for result in results),
        thinking_s=statistics.mean(result.thinking_s for result in results),
    )


async def measure(url: str, *, user_counts: Sequence[int], num_rounds: int) -> list[dict[str, Any]]:
    """A row for each number of users."""
    print("users   ladder/alone          separate/alone        ladder/separate       last thinking token")
    rows = []
    async with client_of(url) as client:
        for users in user_counts:
            num_asks = max(users, LEAST_ASKS)
            await round_of(client, alone, users=users, seeds=range(num_asks))  # warms up
            rounds: list[dict[str, Result]] = []
            for number in range(1, num_rounds + 1):
                seeds = range(number * num_asks, (number + 1) * num_asks)
                first = number % len(KINDS)  # each kind comes first in turn
                kinds = [*KINDS][first:] + [*KINDS][:first]
                rounds.append(
                    {kind: await round_of(client, KINDS[kind], users=users, seeds=seeds) for kind in kinds}
                )
            rows.append(_row(users, num_asks, rounds))
            _print_row(rows[-1])
    return rows


def _row(users: int, num_asks: int, rounds: list[dict[str, Result]]) -> dict[str, Any]:
    row: dict[str, Any] = {"users": users, "results_a_round": num_asks, "rounds": len(rounds)}
    row["median_s"] = {kind: statistics.median(results[kind].total_s for results in rounds) for kind in KINDS}
    for name, (over, under) in RATIOS.items():
        row[name] = _spread([results[over].total_s / results[under].total_s for results in rounds])
    row["last_thinking_token_ladder_over_alone"] = _spread(
        [results["ladder"].thinking_s / results["alone"].thinking_s for results in rounds]
    )
    return row


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def _print_row(row: dict[str, Any]) -> None:
    names = [*RATIOS, "last_thinking_token_ladder_over_alone"]
    cells = [
        f"{row[name]['median']:.2f} ({row[name]['least']:.2f} - {row[name]['most']:.2f})" for name in names
    ]
    print(f"{row['users']:5}   " + "   ".join(f"{cell:19}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8, 32], help="default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=5, help="for each number of them (default: %(default)s)"
    )
    add_out(parser)
    arguments = parser.parse_args()
    # A place for every thinking and for each provisional answer that goes on at the same time.
    places = max(arguments.users) * (1 + len(BUDGETS))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random"
        num_weights = write_random_model(checkpoint, MODEL, answer_tokens=ANSWER_TOKENS, never_ends=True)
        with serving("--model", str(checkpoint), f"--vllm.max-num-seqs={places}") as url:
            rows = asyncio.run(measure(url, user_counts=arguments.users, num_rounds=arguments.rounds))
    record = describe() | {
        "arguments": {"users": arguments.users, "rounds": arguments.rounds},
        "model": f"random weights, {num_weights / 1e6:.1f} million, never ends its thinking or an answer",
        "budgets": list(BUDGETS),
        "answer_tokens": ANSWER_TOKENS,
        "max_num_seqs": places,
        "rows": rows,
    }
    write_record("ladder", record, out=arguments.out, parser=parser)


if __name__ == "__main__":
    main()
