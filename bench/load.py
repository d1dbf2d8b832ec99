"""What happens beyond the server's capacity: short budgets for all, a queue, or load shedding?

Requests with held-out problems arrive at random times (Poisson), at a share of the server's capacity, without
waiting for earlier requests. The capacity is the throughput of as many users as the server has slots, who
send one request after another. The policies: `queue` and `shed` ask for the whole budget and differ in
`--shed budget`; `fixed` asks for a short budget. Each runs without a deadline, and with a deadline of twice
the latency at capacity. "In time" means within that deadline in both cases.

    python bench/load.py [--requests N] [--slots N] [--budget N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

from anytime_client.bench.dialects import RequestTemplate
from anytime_client.bench.outcomes import Outcome
from anytime_client.bench.problems import Problem
from anytime_client.bench.report import percentile
from anytime_server.text.model import BUNDLED_MODEL
from client import send_load
from models import held_out
from records import parser_of, write_record
from servers import MODEL_NAME, Server, anytime_server

SHARES = (0.5, 0.8, 1.2, 2.0)
POLICIES: dict[str, tuple[str, ...]] = {"queue": (), "fixed": (), "shed": ("--shed", "budget")}
"""Options of the server."""
FIXED_BUDGET = 16
"""Budget of the policy `fixed`, at any load."""


async def capacity_of(server: Server, problems: Sequence[Problem], *, slots: int, budget: int) -> float:
    """Requests per second of `slots` users who send one request after another."""
    template = RequestTemplate(model=MODEL_NAME, budget=budget)
    await send_load(server, template, problems[: 8 * slots], users=slots)  # warms up
    return (await send_load(server, template, problems, users=slots)).report.requests_per_s


async def measure(
    server: Server,
    policy: str,
    problems: Sequence[Problem],
    *,
    budget: int,
    capacity: float,
    deadline_s: float,
) -> list[dict[str, Any]]:
    """A row for each load, with and without a deadline."""
    rows = []
    for share in SHARES:
        for asked, deadline_ms in (("budget", None), ("deadline", round(deadline_s * 1000))):
            template = RequestTemplate(model=MODEL_NAME, budget=budget, deadline_ms=deadline_ms)
            load = await send_load(server, template, problems, rate=share * capacity, seed=1)
            row = {"load": share, "policy": policy, "asked": asked, "requests": len(problems)}
            row |= _summary(load.outcomes, deadline_s=deadline_s) | {"causes": dict(load.report.causes)}
            _print_row(row)
            rows.append(row)
    return rows


def _summary(outcomes: Sequence[Outcome], *, deadline_s: float) -> dict[str, Any]:
    latencies_s = sorted(outcome.total_s or 0.0 for outcome in outcomes)
    return {
        "accuracy": statistics.mean(outcome.is_right is True for outcome in outcomes),
        "latency_ms": {f"p{p}": percentile(latencies_s, p) * 1000 for p in (50, 95, 99)},
        "in_time": statistics.mean(latency_s <= deadline_s for latency_s in latencies_s),
        "thinking_tokens": statistics.mean(outcome.thinking_tokens for outcome in outcomes),
    }


def _print_row(row: dict[str, Any]) -> None:
    latency = row["latency_ms"]
    print(
        f"{row['load']:5.0%}  {row['policy']:5}  {row['asked']:8}  accuracy {row['accuracy']:.3f}  "
        f"p50 {latency['p50']:6.0f} ms  p95 {latency['p95']:6.0f}  p99 {latency['p99']:6.0f}  "
        f"in time {row['in_time']:6.1%}  thinking {row['thinking_tokens']:5.1f}  {row['causes']}",
        flush=True,
    )


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The record: capacity, deadline, and the rows of all policies."""
    _, held_out_problems = held_out(BUNDLED_MODEL, arguments.requests, seed=1)
    problems = [Problem(prompt=one.prompt, answer=one.answer) for one in held_out_problems]
    slots, rows = arguments.slots, list[dict[str, Any]]()
    capacity = deadline_s = 0.0
    for policy, options in POLICIES.items():
        with anytime_server("--vllm.max-num-seqs", str(slots), *options) as server:
            if not capacity:
                capacity = await capacity_of(server, problems, slots=slots, budget=arguments.budget)
                deadline_s = 2 * slots / capacity
                print(f"capacity {capacity:.1f} requests/s; deadline {deadline_s * 1000:.0f} ms")
            budget = FIXED_BUDGET if policy == "fixed" else arguments.budget
            rows += await measure(
                server, policy, problems, budget=budget, capacity=capacity, deadline_s=deadline_s
            )
    return {"capacity_per_s": capacity, "deadline_ms": deadline_s * 1000, "rows": rows}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--requests", type=int, default=400, help="requests per run (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=16, help="slots of the server (default: %(default)s)")
    parser.add_argument("--budget", type=int, default=96, help="the whole budget (default: %(default)s)")
    arguments = parser.parse_args()
    write_record("load", asyncio.run(run(arguments)), parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
