"""What does Anytime's server cost beside vLLM's own OpenAI server, on the same machine, model and load?

Both are up, with the same options of the engine, and are measured in turn, by the same client, through
/v1/chat/completions. So many users ask one request after another, for a fixed number of tokens: from vLLM in
one piece; from Anytime with four fifths of them as thinking, then the answer, and once more without thinking.
The model has random weights and never ends by itself, so that all lengths are exact.

Usage: python bench/against_vllm.py [--users 1 16 64 256] [--tokens N] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytime_client.bench.dialects import DIALECTS, RequestTemplate
from anytime_client.bench.exchange import Exchange, Target
from anytime_client.bench.load import Run, closed_loop
from anytime_client.bench.outcomes import outcome_of
from anytime_client.bench.problems import Problem
from anytime_client.bench.report import Report, report_of
from anytime_training.demo.recipe import ModelConfig
from random_model import write_random_model
from servers import SERVED_NAME, Server, anytime_serving, vllm_serving
from serving import CLIENT_TIMEOUT_S, add_out, describe, write_record

MODEL = ModelConfig(
    hidden_size=256, num_layers=6, num_heads=8, num_key_value_heads=8, mlp_size=768, window_tokens=2048
)
KV_CACHE_MIB = 1024
THINKING_SHARE = 0.8
LEAST_REQUESTS = 4
"""Of each kind in a round, by all users together."""
VLLM = "vllm"
KINDS = (VLLM, "thinking", "answer")
"""Of vLLM, of Anytime with thinking, and of Anytime with an answer alone."""
FIGURES = (
    "tokens_per_s",
    "cpu_s_per_1000_tokens",
    "time_to_first_token_p50_s",
    "time_to_first_token_p95_s",
    "time_per_token_p50_s",
    "time_per_token_p95_s",
    "inter_token_p50_s",
    "inter_token_p95_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of asking."""

    server: Server
    template: RequestTemplate


async def load(arm: Arm, *, users: int, count: int, first: int) -> tuple[Report, float]:
    """`count` requests by so many users; what became of them, and the processor time that it took the server.

    Args:
        first: number of the first; no two numbers ask the same.
    """
    dialect = DIALECTS["openai"]
    target = Target(arm.server.url, timeout_s=CLIENT_TIMEOUT_S)

    async def send(number: int) -> Exchange:
        body = dialect.body(arm.template, f"Problem {first + number}: 7 - 3 + 5 x 4 =", first + number)
        return await target.send(target.request(dialect.path, json.dumps(body).encode()))

    run, cpu_s = Run(), arm.server.cpu_s()
    await closed_loop(send, run, users=users, count=count, duration_s=None)
    cpu_s = arm.server.cpu_s() - cpu_s
    outcomes = [
        outcome_of(
            sent, began_s=run.began_s, dialect=dialect, template=arm.template, problem=Problem(prompt="")
        )
        for sent in run.sent
    ]
    return report_of(outcomes, run), cpu_s


def figures(report: Report, cpu_s: float, *, tokens: int) -> dict[str, float]:
    """What is compared.

    Raises:
        RuntimeError: a request failed, or was not of the length that it was to have.
    """
    num_tokens = report.thinking_tokens + report.answer_tokens
    if report.ok != report.requests or num_tokens != report.ok * tokens:
        raise RuntimeError(f"not as it was to be, {tokens} tokens for each request: {report}")
    found = {"tokens_per_s": report.tokens_per_s, "cpu_s_per_1000_tokens": cpu_s / num_tokens * 1000}
    for name in ("time_to_first_token", "time_per_token", "inter_token"):
        for percent in ("p50", "p95"):
            found[f"{name}_{percent}_s"] = report.times[f"{name}_s"][percent]
    return found | {"client_cpu_share": report.client.cpu_share}


async def measure(
    arms: dict[str, Arm], *, user_counts: Sequence[int], tokens: int, num_rounds: int
) -> list[dict[str, Any]]:
    """A row for each number of users."""
    rows, first = list[dict[str, Any]](), 0
    for users in user_counts:
        count = max(users, LEAST_REQUESTS)
        rounds: list[dict[str, dict[str, float]]] = []
        for number in range(num_rounds + 1):
            turn = number % len(KINDS)  # each comes first in turn
            found: dict[str, dict[str, float]] = {}
            for kind in KINDS[turn:] + KINDS[:turn]:
                report, cpu_s = await load(arms[kind], users=users, count=count, first=first)
                found[kind] = figures(report, cpu_s, tokens=tokens)
            first += count
            if number:  # the first one warms up
                rounds.append(found)
        rows.append(_row(users, count, rounds))
        _print_row(rows[-1])
    return rows


def _row(users: int, count: int, rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    names = [*FIGURES, "client_cpu_share"]
    return {
        "users": users,
        "requests_a_round": count,
        "rounds": len(rounds),
        "median": {
            kind: {name: statistics.median(found[kind][name] for found in rounds) for name in names}
            for kind in KINDS
        },
        "over_vllm": {
            kind: {
                name: _spread([found[kind][name] / found[VLLM][name] for found in rounds]) for name in FIGURES
            }
            for kind in KINDS[1:]
        },
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def _print_row(row: dict[str, Any]) -> None:
    theirs = row["median"][VLLM]
    print(f"{row['users']} users: vLLM {theirs['tokens_per_s']:.0f} tokens/s; Anytime over vLLM:")
    for kind, ratios in row["over_vllm"].items():
        told = [
            f"{name.removesuffix('_s')} {one['median']:.2f} [{one['least']:.2f}, {one['most']:.2f}]"
            for name, one in ratios.items()
        ]
        print(f"  {kind:8}  {'  '.join(told)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, nargs="+", default=[1, 16, 64, 256], help="default: 1 16 64 256")
    parser.add_argument("--tokens", type=int, default=160, help="of each request (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each number (default: %(default)s)")
    add_out(parser)
    arguments = parser.parse_args()
    tokens, places = arguments.tokens, max(arguments.users)
    common = {"temperature": 1.0, "top_p": 1.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_answer_tokens = tokens - round(THINKING_SHARE * tokens)
        write_random_model(folder, MODEL, answer_tokens=num_answer_tokens, never_ends=True)
        options = ("--vllm.max-num-seqs", str(places), "--vllm.kv-cache-mib", str(KV_CACHE_MIB))
        spare = max(1, places // 4)  # which `anytime serve` gives its engine beyond its places
        with (
            anytime_serving("--model", str(folder), "--name", SERVED_NAME, *options) as ours,
            vllm_serving(folder, max_num_seqs=places + spare, kv_cache_mib=KV_CACHE_MIB) as theirs,
        ):
            arms = {
                VLLM: Arm(server=theirs, template=_template(tokens, None, common | {"ignore_eos": True})),
                "thinking": Arm(server=ours, template=_template(tokens, tokens - num_answer_tokens, common)),
                "answer": Arm(server=ours, template=_template(tokens, 0, common)),
            }
            rows = asyncio.run(
                measure(arms, user_counts=arguments.users, tokens=tokens, num_rounds=arguments.rounds)
            )
    record = describe() | {"tokens": tokens, "thinking_share": THINKING_SHARE, "rows": rows}
    write_record("against_vllm", record, out=arguments.out, parser=parser)


def _template(tokens: int, budget: int | None, extra_fields: dict[str, Any]) -> RequestTemplate:
    return RequestTemplate(model=SERVED_NAME, budget=budget, max_tokens=tokens, extra_fields=extra_fields)


if __name__ == "__main__":
    main()
