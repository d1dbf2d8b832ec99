"""Are deadlines kept, and how soon after a truncation does the answer begin?

The bundled model is asked its example prompts. First one user sends requests with deadlines. Then 1, 32 and
96 users send requests with a budget that truncates the thinking; the server has 64 slots. The time from the
last thinking token to the first token of the answer is compared with the time between two tokens in the same
run.

    python bench/promises.py [--requests N]
"""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from anytime_client.bench.dialects import RequestTemplate
from anytime_client.bench.problems import Problem
from anytime_client.bench.report import percentile, times_of
from client import Load, send_load
from records import parser_of, write_record
from servers import MODEL_NAME, Server, anytime_server

DEADLINES_MS = (30, 50, 100, 200, 400)
USERS = (1, 32, 96)
BUDGET = 12


async def measure(server: Server, *, num_requests: int) -> dict[str, Any]:
    """Rows for each deadline, and for each number of users."""
    examples = server.examples()

    async def load(template: RequestTemplate, *, users: int, count: int) -> Load:
        problems = [Problem(prompt=examples[number % len(examples)]) for number in range(count)]
        return await send_load(server, template, problems, users=users)

    # Deadlines come before the load of many users, from which the server would expect slow answers.
    truncating = RequestTemplate(model=MODEL_NAME, budget=BUDGET)
    await load(truncating, users=1, count=num_requests)  # warms up
    deadlines = []
    for deadline_ms in DEADLINES_MS:
        template = RequestTemplate(model=MODEL_NAME, deadline_ms=deadline_ms)
        deadlines.append(_deadline_row(deadline_ms, await load(template, users=1, count=num_requests)))
    await load(truncating, users=max(USERS), count=2 * max(USERS))  # warms up
    truncations = []
    for users in USERS:
        count = num_requests + 20 * users
        truncations.append(_truncation_row(users, await load(truncating, users=users, count=count)))
    return {"deadlines": deadlines, "truncations": truncations}


def _deadline_row(deadline_ms: int, load: Load) -> dict[str, Any]:
    late_ms = [(outcome.total_s or 0.0) * 1000 - deadline_ms for outcome in load.outcomes]
    row = {
        "deadline_ms": deadline_ms,
        "requests": len(late_ms),
        "in_time": statistics.mean(late <= 0 for late in late_ms),
        "worst_lateness_ms": max(late_ms),
        "median_unused_ms": -statistics.median(late_ms),
        "mean_thinking_tokens": load.report.thinking_tokens / len(late_ms),
        "causes": dict(load.report.causes),
    }
    print(
        f"deadline {deadline_ms:3} ms  in time {row['in_time']:6.1%}"
        f"  late by {max(0, row['worst_lateness_ms']):.1f} ms at most"
        f"  thinking tokens {row['mean_thinking_tokens']:.1f}  {row['causes']}",
        flush=True,
    )
    return row


def _truncation_row(users: int, load: Load) -> dict[str, Any]:
    truncated = [outcome for outcome in load.outcomes if outcome.cause == "budget"]
    to_answer_s = sorted(times_of(truncated, "cut_to_answer_s"))
    token_s = statistics.median(times_of(truncated, "inter_token_s"))
    row = {
        "users": users,
        "truncated": len(truncated),
        "inter_token_ms": token_s * 1000,
        "cut_to_answer_ms": percentile(to_answer_s, 50) * 1000,
        "cut_to_answer_p95_ms": percentile(to_answer_s, 95) * 1000,
        "ratio": percentile(to_answer_s, 50) / token_s,
    }
    print(
        f"{users:3} users  truncation to answer {row['cut_to_answer_ms']:6.1f} ms (p95 "
        f"{row['cut_to_answer_p95_ms']:6.1f}) = {row['ratio']:.2f} times the {row['inter_token_ms']:.1f} ms"
        f" between tokens, {row['truncated']} truncations",
        flush=True,
    )
    return row


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--requests", type=int, default=200, help="requests per deadline (default: %(default)s)"
    )
    arguments = parser.parse_args()
    with anytime_server() as server:
        record = asyncio.run(measure(server, num_requests=arguments.requests))
    write_record("promises", record, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
