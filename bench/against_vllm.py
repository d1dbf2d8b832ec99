"""What does this server cost, compared with vLLM's own OpenAI server, on the same machine, model and load?

Both servers run with the same engine options and are measured in turn, by the same client, through
/v1/chat/completions. A number of users each send one request after another, for a fixed number of tokens:
from vLLM as one text; from Anytime as thinking (four fifths) and an answer, and again as an answer alone. The
model has random weights and never ends by itself, so that all lengths are exact.

    python bench/against_vllm.py [--users 1 16 64 256] [--tokens N] [--rounds N]
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anytime_client.bench.dialects import RequestTemplate
from anytime_client.bench.problems import Problem
from client import Load, send_load
from models import five_million, write_random_model
from records import parser_of, write_record
from rounds import interleaved, ratios
from servers import MODEL_NAME, Server, anytime_server, vllm_server

KV_CACHE_MIB = 1024
THINKING_SHARE = 0.8
LEAST_REQUESTS = 4
"""Requests of each variant in a round, at least."""
VLLM = "vllm"
VARIANTS: tuple[str, ...] = (VLLM, "thinking", "answer")
"""vLLM, Anytime with thinking, and Anytime with an answer alone."""
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
class Variant:
    """A server, and how it is asked."""

    server: Server
    template: RequestTemplate


def figures(load: Load, *, tokens: int) -> dict[str, float]:
    """The compared figures of a run.

    Raises:
        RuntimeError: a response did not have the fixed number of tokens.
    """
    report = load.report
    num_tokens = report.thinking_tokens + report.answer_tokens
    if num_tokens != report.ok * tokens:
        raise RuntimeError(f"not every response has {tokens} tokens: {report}")
    found = {"tokens_per_s": report.tokens_per_s, "cpu_s_per_1000_tokens": load.cpu_s / num_tokens * 1000}
    for name in ("time_to_first_token", "time_per_token", "inter_token"):
        for percent in ("p50", "p95"):
            found[f"{name}_{percent}_s"] = report.times[f"{name}_s"][percent]
    return found | {"client_cpu_share": report.client.cpu_share}


async def _run(
    variants: Mapping[str, Variant],
    name: str,
    number: int,
    *,
    users: int,
    count: int,
    first_seed: int,
    tokens: int,
) -> dict[str, float]:
    seed = first_seed + number * count  # no two rounds send the same request
    problems = [Problem(prompt=f"Problem {seed + n}: 7 - 3 + 5 x 4 =") for n in range(count)]
    variant = variants[name]
    load = await send_load(
        variant.server, variant.template, problems, users=users, dialect="openai", seed=seed
    )
    return figures(load, tokens=tokens)


async def measure(
    variants: Mapping[str, Variant], *, user_counts: Sequence[int], tokens: int, num_rounds: int
) -> list[dict[str, Any]]:
    """A row for each number of users."""
    rows, first_seed = list[dict[str, Any]](), 0
    for users in user_counts:
        count = max(users, LEAST_REQUESTS)
        run = partial(_run, variants, users=users, count=count, first_seed=first_seed, tokens=tokens)
        rounds = await interleaved(VARIANTS, run, num_rounds=num_rounds)
        first_seed += (num_rounds + 1) * count
        rows.append({"users": users, "requests_a_round": count, "rounds": num_rounds, **_compare(rounds)})
        _print_row(rows[-1])
    return rows


def _compare(rounds: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    def column(variant: str, figure: str) -> list[float]:
        return [found[figure] for found in rounds[variant]]

    return {
        "median": {
            variant: {
                name: statistics.median(column(variant, name)) for name in (*FIGURES, "client_cpu_share")
            }
            for variant in VARIANTS
        },
        "over_vllm": {
            variant: {name: ratios(column(variant, name), column(VLLM, name)) for name in FIGURES}
            for variant in VARIANTS[1:]
        },
    }


def _print_row(row: dict[str, Any]) -> None:
    print(
        f"{row['users']} users: vLLM {row['median'][VLLM]['tokens_per_s']:.0f} tokens/s; Anytime over vLLM:"
    )
    for variant, found in row["over_vllm"].items():
        cells = [
            f"{name.removesuffix('_s')} {one['median']:.2f} [{one['least']:.2f}, {one['most']:.2f}]"
            for name, one in found.items()
        ]
        print(f"  {variant:8}  {'  '.join(cells)}", flush=True)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 16, 64, 256], help="default: 1 16 64 256")
    parser.add_argument("--tokens", type=int, default=160, help="tokens per request (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds per number of users (default: %(default)s)"
    )
    arguments = parser.parse_args()
    tokens, slots = arguments.tokens, max(arguments.users)
    answer_tokens = tokens - round(THINKING_SHARE * tokens)
    fields = {"temperature": 1.0, "top_p": 1.0}

    def template(budget: int | None, **extra_fields: Any) -> RequestTemplate:
        return RequestTemplate(
            model=MODEL_NAME, budget=budget, max_tokens=tokens, extra_fields=fields | extra_fields
        )

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_model(
            folder, five_million(window_tokens=2048), answer_tokens=answer_tokens, never_ends=True
        )
        options = ("--vllm.max-num-seqs", str(slots), "--vllm.kv-cache-mib", str(KV_CACHE_MIB))
        spare = max(1, slots // 4)  # sequences that `anytime serve` adds to its slots
        with (
            anytime_server("--model", name, *options) as ours,
            vllm_server(folder, max_num_seqs=slots + spare, kv_cache_mib=KV_CACHE_MIB) as theirs,
        ):
            variants = {
                VLLM: Variant(server=theirs, template=template(None, ignore_eos=True)),
                "thinking": Variant(server=ours, template=template(tokens - answer_tokens)),
                "answer": Variant(server=ours, template=template(0)),
            }
            rows = asyncio.run(
                measure(variants, user_counts=arguments.users, tokens=tokens, num_rounds=arguments.rounds)
            )
    record = {"thinking_share": THINKING_SHARE, "rows": rows}
    write_record("against_vllm", record, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
