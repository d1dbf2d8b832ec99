"""Are deadlines kept, and how soon after a cut does the answer begin?

Starts `anytime serve` on the bundled checkpoint and asks its example prompts one at a time,
over HTTP, timing everything at the client. Usage: python bench/promises.py [--requests N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
from anytime_client import sse
from anytime_server.engine.environment import cpu_multiplies_bf16

DEADLINES_MS = (30, 50, 100, 200, 400)
SWITCH_BUDGETS = (16, 32, 48)
ANYTIME = Path(sys.executable).with_name("anytime")
RECORD = Path(__file__).parent / "results" / "promises.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="for each deadline (default: %(default)s)")
    parser.add_argument("--model", help="checkpoint to serve instead of the bundled one")
    arguments = parser.parse_args()
    command = [str(ANYTIME), "serve", "--port", "0"]
    if arguments.model:
        command += ["--model", arguments.model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = _wait_for_url(server)
            with httpx2.Client(base_url=url, timeout=60) as client:
                record = {
                    "date": datetime.now(UTC).date().isoformat(),
                    "command": " ".join(["python", "bench/promises.py", *sys.argv[1:]]),
                    "machine": f"{os.cpu_count()} cores, {_processor()}",
                    "versions": client.get("/version").json(),
                    "deadlines": measure_deadlines(client, arguments.requests),
                    "switch": measure_switch(client, arguments.requests),
                }
        finally:
            server.terminate()
    RECORD.write_text(json.dumps(record, indent=2) + "\n")


def _processor() -> str:
    """Architecture, and whether it multiplies bfloat16, by which the type of the weights is chosen."""
    return f"{platform.machine()} {'with' if cpu_multiplies_bf16() else 'without'} bfloat16"


def _wait_for_url(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"serves .* on (http://\S+)", line):
            return found[1]
    sys.exit("the server did not start")


def measure_deadlines(client: httpx2.Client, num_requests: int) -> list[dict[str, Any]]:
    """For each deadline: the share of answers whose last token came in time, and how they ended."""
    prompts = _prompts(client)
    rows = []
    print("deadline_ms  in time  late by at most (ms)  thinking tokens  causes")
    for deadline_ms in DEADLINES_MS:
        lateness_ms, thinking_tokens, causes = [], [], dict[str, int]()
        for number in range(num_requests):
            timed = _ask(client, prompts[number % len(prompts)], {"deadline_ms": deadline_ms}, seed=number)
            lateness_ms.append(timed["last_answer_s"] * 1000 - deadline_ms)
            stop = timed["done"]["stop"]
            thinking_tokens.append(stop["thinking_tokens"])
            causes[stop["cause"]] = causes.get(stop["cause"], 0) + 1
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


def measure_switch(client: httpx2.Client, num_requests: int) -> dict[str, Any]:
    """From the last thinking token to the first of the answer, over the time between tokens."""
    prompts = _prompts(client)
    inter_token_s, cut_to_answer_s, cached_shares = [], [], []
    for number in range(num_requests):
        budget = SWITCH_BUDGETS[number % len(SWITCH_BUDGETS)]
        timed = _ask(client, prompts[number % len(prompts)], budget, seed=number)
        if timed["done"]["stop"]["cause"] != "budget":
            continue
        inter_token_s += timed["gaps_s"]
        cut_to_answer_s.append(timed["first_answer_s"] - timed["last_thinking_s"])
        usage = timed["done"]["usage"]
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


def _prompts(client: httpx2.Client) -> list[str]:
    return client.get("/v1/models").json()["data"][0]["anytime"]["examples"]


def _ask(client: httpx2.Client, prompt: str, budget: Any, *, seed: int) -> dict[str, Any]:
    """One request, and when its events arrived, in seconds from before it was sent."""
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "budget": budget,
        "thinking": {"seed": seed},
    }
    thinking_s: list[float] = []
    answer_s: list[float] = []
    started = time.perf_counter()
    with client.stream("POST", "/v1/anytime", json=body) as response:
        response.raise_for_status()
        for raw in sse.decode(sse.lines(response.iter_text())):
            arrived = time.perf_counter() - started
            if raw.event == "thinking":
                thinking_s.append(arrived)
            elif raw.event == "answer.delta":
                answer_s.append(arrived)
            elif raw.event == "done":
                return {
                    "done": json.loads(raw.data),
                    "gaps_s": [after - before for before, after in pairwise(thinking_s)],
                    "last_thinking_s": thinking_s[-1] if thinking_s else 0.0,
                    "first_answer_s": answer_s[0],
                    "last_answer_s": answer_s[-1],
                }
    raise RuntimeError("the stream ended without an answer")


if __name__ == "__main__":
    main()
