"""What does a real pretrained model cost on a CPU: time to start, memory, and tokens per second?

`anytime serve --model smollm2` with its default options. 1, 4 and 16 users ask for 64 thinking tokens each.
A session that ends its thinking by itself before that counts with the tokens it has.

    python bench/smollm2.py [--users N ...] [--budget N]
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from anytime_client.bench.dialects import RequestTemplate
from anytime_client.bench.problems import Problem
from client import send_load
from records import parser_of, write_record
from servers import MODEL_NAME, Server, anytime_server

SESSIONS_PER_USER = 2
QUESTIONS = (
    "Explain how a steam engine works.",
    "Write a story about a lighthouse keeper.",
    "What are the causes of the seasons?",
    "How would you plan a garden for vegetables?",
    "Describe the life of a honey bee.",
    "Why do people travel?",
    "How is bread made?",
    "What makes a good teacher?",
)


async def measure(server: Server, *, users: int, budget: int) -> dict[str, Any]:
    template = RequestTemplate(model=MODEL_NAME, budget=budget, max_tokens=budget + 32)
    count = users * SESSIONS_PER_USER
    problems = [Problem(prompt=f"{QUESTIONS[n % len(QUESTIONS)]} ({n})") for n in range(count)]
    load = await send_load(server, template, problems, users=users, seed=1000 * users)
    report = load.report
    num_tokens = report.thinking_tokens + report.answer_tokens
    row = {
        "users": users,
        "sessions": count,
        "thinking_tokens": report.thinking_tokens,
        "answer_tokens": report.answer_tokens,
        "tokens_per_s": report.tokens_per_s,
        "cpu_s_per_1000_tokens": load.cpu_s / num_tokens * 1000,
        "time_per_token_p50_s": report.times["time_per_token_s"]["p50"],
        "cut_to_answer_p50_s": report.times["cut_to_answer_s"]["p50"],
        "rss_mib": server.rss_mib(),
    }
    print(
        f"{users:3} users  {row['tokens_per_s']:6.1f} tokens/s  CPU {row['cpu_s_per_1000_tokens']:.1f} s for "
        f"1,000  truncation to answer {row['cut_to_answer_p50_s'] * 1000:.0f} ms  {row['rss_mib']:.0f} MiB",
        flush=True,
    )
    return row


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 4, 16], help="default: 1 4 16")
    parser.add_argument("--budget", type=int, default=64, help="default: %(default)s")
    arguments = parser.parse_args()
    began = time.monotonic()
    with anytime_server("--model", "smollm2") as server:
        start = {
            "start_s": time.monotonic() - began,
            "start_cpu_s": server.cpu_s(),
            "rss_mib": server.rss_mib(),
            "tcmalloc": "tcmalloc" in os.environ.get("LD_PRELOAD", ""),
        }
        print(f"started in {start['start_s']:.1f} s, with {start['rss_mib']:.0f} MiB", flush=True)
        rows = [
            asyncio.run(measure(server, users=users, budget=arguments.budget)) for users in arguments.users
        ]
    write_record("smollm2", {"start": start, "rows": rows}, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
