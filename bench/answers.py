"""Is every answer a real one, at any budget and in every dialect?

Asks at budgets from 0 to 300 in all dialects, streamed and not, several at a time, and counts what must not
be: blank answers, thinking over the budget, thinking that is shown as an answer, streams that do not end in
exactly one end. The bundled model is asked at every budget; at some, two of random weights: one that would
rather not answer, and one that never ends its thinking by itself.
Usage: python bench/answers.py [--step N] [--random-step N]. Ends with status 1 if anything is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
from anytime_training.demo.recipe import ModelConfig
from dialects import DIALECTS, Asked, Dialect, Reply
from random_model import write_random_model
from serving import add_out, client_of, describe, serving, stream_events, write_record

BUDGETS = range(301)
TEMPERATURES = (None, 1.0)
USERS = 16
FAULTS = ("failed", "blank", "over_budget", "think_tokens", "not_ended")
RANDOM = ModelConfig(hidden_size=64, num_layers=2, num_heads=2, num_key_value_heads=2, mlp_size=128)
NUM_SHOWN = 5
"""Faults of which all is shown."""


async def faults_of(
    client: httpx2.AsyncClient, dialect: Dialect, asked: Asked, *, streamed: bool, marks: tuple[str, ...]
) -> tuple[list[str], dict[str, Any]]:
    """Ask, and see what is wrong with what comes: names of faults, and what stopped the thinking.

    Args:
        marks: texts that begin and end thinking, and must be in no answer.
    """
    body = dialect.body(asked) | {"stream": streamed}
    try:
        if streamed:
            reply = dialect.streamed([event for _, event in await stream_events(client, dialect.path, body)])
        else:
            response = await client.post(dialect.path, json=body)
            response.raise_for_status()
            reply = dialect.whole(response.json())
    except httpx2.HTTPStatusError as error:
        print(f"{dialect.name}, budget {asked.budget}: {error.response.text[:200]}", file=sys.stderr)
        return ["failed"], {}
    except httpx2.HTTPError as error:
        print(f"{dialect.name}, budget {asked.budget}: {error!r}", file=sys.stderr)
        return ["not_ended"], {}
    return _faults(reply, asked.budget, marks), reply.stop or {}


def _faults(reply: Reply, budget: int, marks: tuple[str, ...]) -> list[str]:
    found = {
        "blank": not reply.answer.strip(),
        "over_budget": reply.stop is not None and reply.stop["thinking_tokens"] > budget,
        "think_tokens": any(mark in reply.answer for mark in marks),
        "not_ended": reply.num_ends != 1 or reply.stop is None,
    }
    return [name for name in FAULTS if found.get(name)]


async def ask_all(url: str, *, step: int) -> list[dict[str, Any]]:
    """Every dialect, streamed and not, at every budget: a row for each of these pairs."""
    kinds = [(dialect, streamed) for dialect in DIALECTS for streamed in (False, True)]
    asks = iter([(kind, budget) for budget in BUDGETS[::step] for kind in kinds])
    counts = {kind: Counter[str]() for kind in kinds}
    async with client_of(url) as client:
        card = (await client.get("/v1/models")).json()["data"][0]
        manifest = card["anytime"]
        marks = (manifest["think_start"].strip(), manifest["think_end"].strip())
        prompts = manifest["examples"] or ["7-3", "What is 2 + 2?"]

        async def user() -> None:
            for kind, budget in asks:
                number = counts[kind]["requests"]
                asked = Asked(
                    model=card["id"],
                    prompt=prompts[number % len(prompts)],
                    budget=budget,
                    temperature=TEMPERATURES[number // len(prompts) % len(TEMPERATURES)],
                    seed=budget,
                )
                counts[kind]["requests"] += 1
                dialect, streamed = kind
                faults, stop = await faults_of(client, dialect, asked, streamed=streamed, marks=marks)
                counts[kind].update(faults)
                counts[kind]["cut"] += stop.get("cause") == "budget"
                counts[kind]["thinking_tokens"] += stop.get("thinking_tokens", 0)
                if faults and sum(counts[one][fault] for one in kinds for fault in FAULTS) <= NUM_SHOWN:
                    print(f"{dialect.name}, {streamed=}, {asked}: {', '.join(faults)}", file=sys.stderr)

        await asyncio.gather(*(user() for _ in range(USERS)))
    return [
        {
            "dialect": dialect.name,
            "streamed": streamed,
            **{name: counts[kind][name] for name in ("requests", "cut", "thinking_tokens", *FAULTS)},
        }
        for kind in kinds
        for dialect, streamed in (kind,)
    ]


def measure(name: str, *arguments: str, step: int) -> list[dict[str, Any]]:
    """Rows of one model, which are printed."""
    with serving(*arguments) as url:
        rows = [{"model": name, **row} for row in asyncio.run(ask_all(url, step=step))]
    for row in rows:
        print(
            f"{row['model']:7}  {row['dialect']:16}  {'streamed' if row['streamed'] else 'whole':8}"
            f"  {row['requests']:8}  {row['cut']:5}  {row['failed']:6}  {row['blank']:5}"
            f"  {row['over_budget']:11}  {row['think_tokens']:12}  {row['not_ended']:9}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--step", type=int, default=1, help="between budgets of the bundled model (default: %(default)s)"
    )
    parser.add_argument(
        "--random-step", type=int, default=6, help="of those of random weights (default: %(default)s)"
    )
    add_out(parser)
    arguments = parser.parse_args()
    print(
        "model    dialect           streamed  requests    cut  failed  blank  over budget  think tokens"
        "  not ended"
    )
    rows = measure("bundled", step=arguments.step)
    with tempfile.TemporaryDirectory() as folder:
        for name, never_ends in (("blank", False), ("endless", True)):
            checkpoint = Path(folder) / name
            write_random_model(checkpoint, RANDOM, answer_tokens=12, never_ends=never_ends)
            rows += measure(name, "--model", str(checkpoint), step=arguments.random_step)
    num_requests = sum(row["requests"] for row in rows)
    num_faults = sum(row[fault] for row in rows for fault in FAULTS)
    print(f"{num_requests} requests, {num_faults} faults")
    record = describe() | {
        "arguments": {"step": arguments.step, "random_step": arguments.random_step},
        "users": USERS,
        "requests": num_requests,
        "faults": num_faults,
        "rows": rows,
    }
    write_record("answers", record, out=arguments.out, parser=parser)
    sys.exit(num_faults > 0)


if __name__ == "__main__":
    main()
