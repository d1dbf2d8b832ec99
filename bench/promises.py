"""Are deadlines kept, and how soon after a cut does the answer begin?

Starts `anytime serve` on the bundled checkpoint and asks its example prompts one at a time,
over HTTP, timing everything at the client. Usage: python bench/promises.py [--requests N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from itertools import pairwise
from typing import Any

import httpx2
from serving import add_out, answer_of, client_of, describe, examples, serving, write_record

DEADLINES_MS = (30, 50, 100, 200, 400)
SWITCH_BUDGETS = (16, 32, 48)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="for each deadline (default: %(default)s)")
    parser.add_argument("--model", help="checkpoint to serve instead of the bundled one")
    add_out(parser)
    arguments = parser.parse_args()
    with serving(*(["--model", arguments.model] if arguments.model else [])) as url:
        record = describe() | asyncio.run(measure(url, arguments.requests))
    write_record("promises", record, out=arguments.out, parser=parser)


async def measure(url: str, num_requests: int) -> dict[str, Any]:
    """Both questions, put to the server at `url`."""
    async with client_of(url) as client:
        return {
            "deadlines": await measure_deadlines(client, num_requests),
            "switch": await measure_switch(client, num_requests),
        }


async def measure_deadlines(client: httpx2.AsyncClient, num_requests: int) -> list[dict[str, Any]]:
    """For each deadline: the share of answers whose last token came in time, and how they ended."""
    prompts = await examples(client)
    rows = []
    print("deadline_ms  in time  late by at most (ms)  thinking tokens  causes")
    for deadline_ms in DEADLINES_MS:
        lateness_ms, thinking_tokens, causes = [], [], dict[str, int]()
        for number in range(num_requests):
            prompt = prompts[number % len(prompts)]
            answer = await answer_of(client, prompt, seed=number, budget={"deadline_ms": deadline_ms})
            lateness_ms.append(answer.answer_s[-1] * 1000 - deadline_ms)
            thinking_tokens.append(answer.stop["thinking_tokens"])
            cause = answer.stop["cause"]
            causes[cause] = causes.get(cause, 0) + 1
        rows.append(
            {
                "deadline_ms": deadline_ms,
                "requests": num_requests,
                "in_time": sum(late <= 0 for late in lateness_ms) / num_requests,
                "worst_lateness_ms": max(lateness_ms),
                "median_unused_ms": -statistics.median(lateness_ms),
                "mean_thinking_tokens": statistics.mean(thinking_tokens),
                "causes": causes,
            }
        )
        row = rows[-1]
        print(
            f"{deadline_ms:11}  {row['in_time']:7.1%}  {max(0, row['worst_lateness_ms']):20.1f}"
            f"  {row['mean_thinking_tokens']:15.1f}  {causes}"
        )
    return rows


async def measure_switch(client: httpx2.AsyncClient, num_requests: int) -> dict[str, Any]:
    """From the last thinking token to the first of the answer, over the time between tokens."""
    prompts = await examples(client)
    inter_token_s, cut_to_answer_s, cached_shares = [], [], []
    for number in range(num_requests):
        budget = SWITCH_BUDGETS[number % len(SWITCH_BUDGETS)]
        answer = await answer_of(client, prompts[number % len(prompts)], seed=number, budget=budget)
        if answer.stop["cause"] != "budget":
            continue
        thinking_s, usage = answer.thinking_s, answer.usage
        inter_token_s += [after - before for before, after in pairwise(thinking_s)]
        cut_to_answer_s.append(answer.answer_s[0] - thinking_s[-1])
        # The last thinking token was sampled but never computed on: it can be in no cached block.
        computed = usage["prompt_tokens"] + usage["thinking_tokens"] - 1
        if full_blocks := computed // 32 * 32:
            cached_shares.append(min(1.0, usage["cached_tokens"] / full_blocks))
    inter_token, switch = statistics.median(inter_token_s), statistics.median(cut_to_answer_s)
    result = {
        "requests": len(cut_to_answer_s),
        "inter_token_ms": inter_token * 1000,
        "cut_to_answer_ms": switch * 1000,
        "ratio": switch / inter_token,
        "full_blocks_cached": statistics.mean(cached_shares),
    }
    print(
        f"\ncut to answer {switch * 1000:.1f} ms = {result['ratio']:.2f} x the {inter_token * 1000:.1f} ms "
        f"between tokens (medians of {len(cut_to_answer_s)}); "
        f"{result['full_blocks_cached']:.1%} of the full blocks found in the cache"
    )
    return result


if __name__ == "__main__":
    main()
