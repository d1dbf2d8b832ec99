"""What do answers at several budgets cost: in one request with all budgets, or in one request per budget?

Users send one request after another, in three variants: an answer at the largest budget (alone), the same
with early answers at three lower budgets (ladder), and four requests, one for each budget (separate). The
model has random weights and never ends its thinking by itself, so that all thinking is as long as its budget.

    python bench/ladder.py [--users 1 8 32] [--rounds N]
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anytime_client.bench.dialects import DIALECTS
from client import events_of, exchange_all, native_request
from models import five_million, write_random_model
from records import parser_of, write_record
from rounds import interleaved, ratios
from servers import Server, anytime_server

BUDGETS = (64, 128, 192, 256)
ANSWER_TOKENS = 16
LEAST_PROMPTS = 2
"""Prompts of a run, at least."""
VARIANTS: tuple[str, ...] = ("alone", "ladder", "separate")
RATIOS = {
    "ladder_over_alone": ("ladder", "alone"),
    "separate_over_alone": ("separate", "alone"),
    "ladder_over_separate": ("ladder", "separate"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Mean seconds that a user waits for all answers to a prompt."""

    total_s: float
    """Until all answers are complete."""
    thinking_s: float
    """Until the last thinking token of the largest budget, since its request was sent."""


async def run(server: Server, variant: str, number: int, *, users: int, num_prompts: int) -> Waits:
    """Send the requests of a variant; each round has other prompts and seeds.

    Raises:
        RuntimeError: a request failed, or its thinking or early answers do not have the asked budgets.
    """
    seeds = range(number * num_prompts, (number + 1) * num_prompts)
    budgets = BUDGETS if variant == "separate" else BUDGETS[-1:]
    early = {"budgets": list(BUDGETS[:-1])} if variant == "ladder" else {}
    # Budgets in the outer loop: each user sends the requests for a prompt one after another.
    asked = [(budget, seed) for budget in budgets for seed in seeds]
    exchanges = await exchange_all(
        server,
        [
            native_request(
                f"Problem {seed}: 7 - 3 + 5 x 4 =",
                seed=seed,
                budget=budget,
                answer={"max_tokens": ANSWER_TOKENS},
                **early,
            )
            for budget, seed in asked
        ],
        users=users,
    )
    total_s, thinking_s = 0.0, list[float]()
    for (budget, _), exchange in zip(asked, exchanges, strict=True):
        events = events_of(exchange)
        stream = DIALECTS["native"].parse(events)
        answered = [
            fields["at_tokens"]
            for _, event in events
            if (fields := json.loads(event.data))["type"] == "answer.done"
        ]
        if stream.thinking_tokens != budget or sorted(answered) != [*early.get("budgets", ()), budget]:
            raise RuntimeError(f"{stream.thinking_tokens} thinking tokens, and answers at {answered}")
        total_s += events[-1][0]
        if budget == BUDGETS[-1]:
            thinking_s.append(stream.thinking_s[-1])
    return Waits(total_s=total_s / num_prompts, thinking_s=statistics.mean(thinking_s))


async def measure(server: Server, *, user_counts: Sequence[int], num_rounds: int) -> list[dict[str, Any]]:
    """A row for each number of users."""
    print("users   ladder/alone          separate/alone        ladder/separate       last thinking token")
    rows = []
    for users in user_counts:
        count = max(users, LEAST_PROMPTS)
        measure_round = partial(run, server, users=users, num_prompts=count)
        rounds = await interleaved(VARIANTS, measure_round, num_rounds=num_rounds)
        rows.append({"users": users, "prompts_a_round": count, "rounds": num_rounds, **_compare(rounds)})
        _print_row(rows[-1])
    return rows


def _compare(rounds: dict[str, list[Waits]]) -> dict[str, Any]:
    totals = {variant: [found.total_s for found in rounds[variant]] for variant in VARIANTS}
    thinking = {variant: [found.thinking_s for found in rounds[variant]] for variant in VARIANTS}
    row: dict[str, Any] = {"median_s": {name: statistics.median(values) for name, values in totals.items()}}
    row |= {name: ratios(totals[over], totals[under]) for name, (over, under) in RATIOS.items()}
    row["last_thinking_token_ladder_over_alone"] = ratios(thinking["ladder"], thinking["alone"])
    return row


def _print_row(row: dict[str, Any]) -> None:
    names = [*RATIOS, "last_thinking_token_ladder_over_alone"]
    cells = [
        f"{row[name]['median']:.2f} ({row[name]['least']:.2f} - {row[name]['most']:.2f})" for name in names
    ]
    print(f"{row['users']:5}   " + "   ".join(f"{cell:19}" for cell in cells), flush=True)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8, 32], help="default: 1 8 32")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds per number of users (default: %(default)s)"
    )
    arguments = parser.parse_args()
    # A slot for the thinking of each user, and for each early answer beside it.
    slots = max(arguments.users) * (1 + len(BUDGETS))
    with tempfile.TemporaryDirectory() as folder:
        num_weights = write_random_model(
            Path(folder), five_million(window_tokens=2048), answer_tokens=ANSWER_TOKENS, never_ends=True
        )
        with anytime_server("--model", folder, "--vllm.max-num-seqs", str(slots)) as server:
            rows = asyncio.run(measure(server, user_counts=arguments.users, num_rounds=arguments.rounds))
    record = {
        "model": f"random weights, {num_weights / 1e6:.1f} million, never ends its thinking or an answer",
        "budgets": list(BUDGETS),
        "answer_tokens": ANSWER_TOKENS,
        "max_num_seqs": slots,
        "rows": rows,
    }
    write_record("ladder", record, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
