"""How does the cost grow with the length of the thinking, and with the number of sessions?

Sessions think for a fixed number of tokens and give a short answer: with growing lengths at a fixed number of
sessions, then with growing numbers of sessions at a fixed length. The results are tokens per second, the
server's processor time for 1,000 tokens, and its memory afterwards. The model has random weights and never
ends by itself.

    python bench/growth.py [--lengths N ...] [--sessions N ...]
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytime_client.bench.dialects import RequestTemplate
from anytime_client.bench.problems import Problem
from client import send_load
from models import five_million, write_random_model
from records import parser_of, write_record
from rounds import interleaved, spread
from servers import MODEL_NAME, Server, anytime_server

ANSWER_TOKENS = 8
KV_CACHE_MIB = 1536
SESSIONS_BY_LENGTH = 16
LENGTH_BY_SESSIONS = 128
LEAST_TOKENS = 2048
"""Thinking tokens of a run, at least, so that a few short sessions run for long enough."""


async def measure(
    server: Server, *, points: Sequence[tuple[int, int]], num_rounds: int
) -> list[dict[str, Any]]:
    """A row for each point: a number of sessions and a length of thinking."""

    async def run(point: tuple[int, int], number: int) -> dict[str, float]:
        return await _run(server, *point, seed=number * 100_000)

    rows = []
    for (sessions, length), rounds in (await interleaved(points, run, num_rounds=num_rounds)).items():
        row: dict[str, Any] = {"sessions": sessions, "thinking_tokens": length, "rounds": num_rounds}
        row |= {name: spread([found[name] for found in rounds]) for name in rounds[0]}
        rows.append(row)
        _print_row(row)
    return rows


async def _run(server: Server, sessions: int, length: int, *, seed: int) -> dict[str, float]:
    template = RequestTemplate(model=MODEL_NAME, budget=length, max_tokens=length + ANSWER_TOKENS)
    count, seed = max(sessions, -(-LEAST_TOKENS // length)), seed + length * 1000 + sessions
    problems = [Problem(prompt=f"Problem {seed + n}: 7 - 3 + 5 x 4 =") for n in range(count)]
    load = await send_load(server, template, problems, users=sessions, dialect="openai", seed=seed)
    report = load.report
    if report.thinking_tokens != count * length:
        raise RuntimeError(f"not every session thought for {length} tokens: {report}")
    num_tokens = report.thinking_tokens + report.answer_tokens
    return {
        "tokens_per_s": report.tokens_per_s,
        "cpu_s_per_1000_tokens": load.cpu_s / num_tokens * 1000,
        "time_per_token_p50_s": report.times["time_per_token_s"]["p50"],
        "cut_to_answer_p50_s": report.times["cut_to_answer_s"]["p50"],
        "rss_mib": server.rss_mib(),
    }


def _print_row(row: dict[str, Any]) -> None:
    rate, cpu, memory = row["tokens_per_s"], row["cpu_s_per_1000_tokens"], row["rss_mib"]
    print(
        f"{row['sessions']:4} sessions  {row['thinking_tokens']:5} tokens  {rate['median']:7.0f} tokens/s"
        f"  CPU {cpu['median']:.3f} s for 1,000 [{cpu['least']:.3f}, {cpu['most']:.3f}]"
        f"  truncation to answer {row['cut_to_answer_p50_s']['median'] * 1000:5.1f} ms"
        f"  {memory['median']:.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[128, 512, 1024, 2048], help="default: 128 512 1024 2048"
    )
    parser.add_argument(
        "--sessions", type=int, nargs="+", default=[1, 16, 64, 256], help="default: 1 16 64 256"
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    arguments = parser.parse_args()
    points = [(SESSIONS_BY_LENGTH, length) for length in arguments.lengths]
    points += [(sessions, LENGTH_BY_SESSIONS) for sessions in arguments.sessions]
    points = list(dict.fromkeys(points))
    slots = str(max(sessions for sessions, _ in points))
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(
            Path(folder), five_million(window_tokens=4096), answer_tokens=ANSWER_TOKENS, never_ends=True
        )
        with anytime_server(
            *("--model", folder, "--vllm.kv-cache-mib", str(KV_CACHE_MIB), "--vllm.max-num-seqs", slots)
        ) as server:
            rows = asyncio.run(measure(server, points=points, num_rounds=arguments.rounds))
    write_record("growth", {"rows": rows}, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
