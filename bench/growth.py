"""How does the cost grow with the length of the thinking, and with the number of sessions?

Sessions think for a fixed number of tokens and give a short answer: one length after another at one number of
sessions, then one number after another at one length. Told are tokens a second, the server's processor time
for 1,000 tokens, and its memory after. The model has random weights and never ends by itself.

Usage: python bench/growth.py [--lengths N ...] [--sessions N ...]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from against_vllm import Arm, load
from anytime_client.bench.dialects import RequestTemplate
from anytime_training.demo.recipe import ModelConfig
from random_model import write_random_model
from servers import SERVED_NAME, Server, anytime_serving
from serving import add_out, describe, write_record

MODEL = ModelConfig(
    hidden_size=256, num_layers=6, num_heads=8, num_key_value_heads=8, mlp_size=768, window_tokens=4096
)
ANSWER_TOKENS = 8
KV_CACHE_MIB = 1536
SESSIONS_BY_LENGTH = 16
LENGTH_BY_SESSIONS = 128
LEAST_TOKENS = 2048
"""Of thinking in a run, so that few and short sessions are measured for long enough."""


async def measure(
    server: Server, *, points: Sequence[tuple[int, int]], num_rounds: int
) -> list[dict[str, Any]]:
    """A row for each number of sessions and length of thinking; every round has all of them, in turn."""
    rounds: list[list[dict[str, float]]] = []
    for number in range(num_rounds + 1):
        turn = number % len(points)
        ordered = [*points[turn:], *points[:turn]]
        found = {point: await _run(server, *point, first=number * 100_000) for point in ordered}
        if number:  # the first one warms up
            rounds.append([found[point] for point in points])
    rows = []
    for i, (sessions, length) in enumerate(points):
        row: dict[str, Any] = {"sessions": sessions, "thinking_tokens": length, "rounds": num_rounds}
        for name in rounds[0][i]:
            values = [figures[i][name] for figures in rounds]
            row[name] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
        rows.append(row)
        _print_row(row)
    return rows


async def _run(server: Server, sessions: int, length: int, *, first: int) -> dict[str, float]:
    template = RequestTemplate(model=SERVED_NAME, budget=length, max_tokens=length + ANSWER_TOKENS)
    count = max(sessions, -(-LEAST_TOKENS // length))
    report, cpu_s = await load(
        Arm(server=server, template=template),
        users=sessions,
        count=count,
        first=first + length * 1000 + sessions,
    )
    if report.ok != count or report.thinking_tokens != count * length:
        raise RuntimeError(f"{count} sessions were to think for {length} tokens each: {report}")
    num_tokens = report.thinking_tokens + report.answer_tokens
    return {
        "tokens_per_s": report.tokens_per_s,
        "cpu_s_per_1000_tokens": cpu_s / num_tokens * 1000,
        "time_per_token_p50_s": report.times["time_per_token_s"]["p50"],
        "cut_to_answer_p50_s": report.times["cut_to_answer_s"]["p50"],
        "rss_mib": server.rss_mib(),
    }


def _print_row(row: dict[str, Any]) -> None:
    rate, cpu, memory = row["tokens_per_s"], row["cpu_s_per_1000_tokens"], row["rss_mib"]
    print(
        f"{row['sessions']:4} sessions  {row['thinking_tokens']:5} tokens  {rate['median']:7.0f} tokens/s"
        f"  CPU {cpu['median']:.3f} s for 1,000 [{cpu['least']:.3f}, {cpu['most']:.3f}]"
        f"  cut to answer {row['cut_to_answer_p50_s']['median'] * 1000:5.1f} ms"
        f"  {memory['median']:.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[128, 512, 1024, 2048], help="default: 128 512 1024 2048"
    )
    parser.add_argument(
        "--sessions", type=int, nargs="+", default=[1, 16, 64, 256], help="default: 1 16 64 256"
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    add_out(parser)
    arguments = parser.parse_args()
    points = [(SESSIONS_BY_LENGTH, length) for length in arguments.lengths]
    points += [(sessions, LENGTH_BY_SESSIONS) for sessions in arguments.sessions]
    points = list(dict.fromkeys(points))
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(Path(folder), MODEL, answer_tokens=ANSWER_TOKENS, never_ends=True)
        with anytime_serving(
            *("--model", folder, "--name", SERVED_NAME, "--vllm.kv-cache-mib", str(KV_CACHE_MIB)),
            *("--vllm.max-num-seqs", str(max(arguments.sessions))),
        ) as server:
            rows = asyncio.run(measure(server, points=points, num_rounds=arguments.rounds))
    write_record("growth", describe() | {"rows": rows}, out=arguments.out, parser=parser)


if __name__ == "__main__":
    main()
