"""How soon after a cut does the answer begin, alone, in company and in a crowd?

A number of users ask one question after another over HTTP, each with a budget that cuts the thinking.
The time from the last thinking token to the first of the answer is held against the time between two
thinking tokens in the same run.

Usage: python bench/switch.py
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from itertools import pairwise
from typing import Any

import httpx2
from serving import add_out, answer_of, client_of, describe, examples, serving, write_record

USERS = (1, 32, 96)
"""The last are more than the 64 that the server lets think at a time."""
BUDGETS = (8, 12, 16)


async def measure(
    client: httpx2.AsyncClient, prompts: list[str], *, users: int, count: int
) -> dict[str, Any]:
    """`count` requests of so many users."""
    numbers = iter(range(count))
    gaps_s, switches_s = list[float](), list[float]()

    async def user() -> None:
        for number in numbers:
            budget = BUDGETS[number % len(BUDGETS)]
            answer = await answer_of(client, prompts[number % len(prompts)], seed=number, budget=budget)
            if answer.stop["cause"] == "budget":
                gaps_s.extend(after - before for before, after in pairwise(answer.thinking_s))
                switches_s.append(answer.answer_s[0] - answer.thinking_s[-1])

    await asyncio.gather(*(user() for _ in range(users)))
    gap_s, switch_s = statistics.mean(gaps_s), statistics.median(switches_s)
    row = {
        "users": users,
        "cuts": len(switches_s),
        "inter_token_ms": gap_s * 1000,
        "cut_to_answer_ms": switch_s * 1000,
        "cut_to_answer_p95_ms": sorted(switches_s)[int(0.95 * len(switches_s))] * 1000,
        "ratio": switch_s / gap_s,
    }
    switch_ms, p95_ms = row["cut_to_answer_ms"], row["cut_to_answer_p95_ms"]
    print(
        f"{users:5} users  cut to answer {switch_ms:6.1f} ms (p95 {p95_ms:6.1f}) = {row['ratio']:.2f} x "
        f"the {row['inter_token_ms']:.1f} ms between tokens, {row['cuts']} cuts"
    )
    return row


async def run(url: str, count: int) -> list[dict[str, Any]]:
    """All numbers of users, the smaller ones with fewer requests."""
    async with client_of(url) as client:
        prompts = await examples(client)
        await measure(client, prompts, users=32, count=200)  # not counted: the first requests are slow
        return [await measure(client, prompts, users=n, count=min(count, 100 + 20 * n)) for n in USERS]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1500, help="the most in a row (default: %(default)s)")
    add_out(parser)
    arguments = parser.parse_args()
    with serving() as url:
        rows = asyncio.run(run(url, arguments.requests))
    write_record("switch", describe() | {"rows": rows}, out=arguments.out, parser=parser)


if __name__ == "__main__":
    main()
