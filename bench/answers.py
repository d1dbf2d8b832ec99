"""Is every answer a real one, at any budget and in every dialect?

Sends requests with budgets from 0 to 300 in all dialects, streamed and whole, and counts faults: failed
requests, blank answers, thinking over the budget, thinking marks in an answer, and streams without exactly
one end. The bundled model is asked at every budget. Two models of random weights are asked at some: one that
avoids answers, and one that never ends its thinking by itself. The exit status is 1 if there is any fault.

    python bench/answers.py [--step N] [--random-step N]
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytime_client.bench.dialects import ParsedStream, RequestTemplate
from anytime_client.bench.exchange import Exchange
from anytime_training.demo.recipe import ModelConfig
from api_dialects import API_DIALECTS, FAULTS, ApiDialect, at_temperature, faults_of
from client import Request, events_of, exchange_all, response_of
from models import write_random_model
from records import parser_of, write_record
from servers import MODEL_NAME, Server, anytime_server

BUDGETS = range(301)
TEMPERATURES = (None, 1.0)
USERS = 16
COUNTED = ("failed", *FAULTS)
RANDOM = ModelConfig(hidden_size=64, num_layers=2, num_heads=2, num_key_value_heads=2, mlp_size=128)
NUM_PRINTED = 5
"""Faulty requests of a model that are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, and how to read its response."""

    dialect: ApiDialect
    is_streamed: bool
    budget: int
    temperature: float | None
    prompt: str

    def request(self) -> Request:
        fields = at_temperature(self.dialect.name, self.temperature)
        template = RequestTemplate(model=MODEL_NAME, budget=self.budget, extra_fields=fields)
        body = self.dialect.body(template, self.prompt, self.budget, streamed=self.is_streamed)
        return self.dialect.base.path, body

    def read(self, exchange: Exchange) -> tuple[ParsedStream, int]:
        """The content of the response, and how often it was completed.

        Raises:
            RuntimeError: the server answered with an error, or the response is not complete.
        """
        if self.is_streamed:
            return self.dialect.read_stream(events_of(exchange))
        return self.dialect.read_whole(json.loads(b"".join(piece for _, piece in response_of(exchange).body)))


async def count_faults(server: Server, *, step: int) -> list[dict[str, Any]]:
    """Every dialect, streamed and whole, at every `step`-th budget: a row for each of these pairs."""
    card = server.card()["anytime"]
    marks = (card["think_start"].strip(), card["think_end"].strip())
    prompts = card["examples"] or ["7-3", "What is 2 + 2?"]
    asked = [
        Asked(
            dialect=dialect,
            is_streamed=is_streamed,
            budget=budget,
            temperature=TEMPERATURES[number // len(prompts) % len(TEMPERATURES)],
            prompt=prompts[number % len(prompts)],
        )
        for number, budget in enumerate(BUDGETS[::step])
        for dialect in API_DIALECTS
        for is_streamed in (False, True)
    ]
    exchanges = await exchange_all(server, [one.request() for one in asked], users=USERS)
    counts: dict[tuple[str, bool], Counter[str]] = {}
    num_faulty = 0
    for one, exchange in zip(asked, exchanges, strict=True):
        count = counts.setdefault((one.dialect.name, one.is_streamed), Counter())
        count["requests"] += 1
        try:
            stream, num_ends = one.read(exchange)
        except (RuntimeError, ValueError, LookupError) as error:
            faults, shown = ["failed"], repr(error)
        else:
            faults, shown = faults_of(stream, num_ends, budget=one.budget, marks=marks), repr(stream)
            count["truncated"] += stream.cause == "budget"
            count["thinking_tokens"] += stream.thinking_tokens or 0
        count.update(faults)
        num_faulty += bool(faults)
        if faults and num_faulty <= NUM_PRINTED:
            print(f"{one.request()}: {', '.join(faults)}: {shown[:500]}", file=sys.stderr)
    names = ("requests", "truncated", "thinking_tokens", *COUNTED)
    return [
        {"dialect": dialect, "streamed": is_streamed, **{name: count[name] for name in names}}
        for (dialect, is_streamed), count in counts.items()
    ]


def measure(name: str, *options: str, step: int) -> list[dict[str, Any]]:
    """The rows of one model."""
    with anytime_server(*options) as server:
        rows = [{"model": name, **row} for row in asyncio.run(count_faults(server, step=step))]
    for row in rows:
        print(
            f"{row['model']:7}  {row['dialect']:16}  {'streamed' if row['streamed'] else 'whole':8}"
            f"  {row['requests']:8}  {row['truncated']:9}  {row['failed']:6}  {row['blank']:5}"
            f"  {row['over_budget']:11}  {row['think_tokens']:12}  {row['not_ended']:9}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--step", type=int, default=1, help="between budgets of the bundled model (default: %(default)s)"
    )
    parser.add_argument(
        "--random-step", type=int, default=6, help="between budgets of random models (default: %(default)s)"
    )
    arguments = parser.parse_args()
    print(
        "model    dialect           streamed  requests  truncated  failed  blank  over budget  think tokens"
        "  not ended"
    )
    rows = measure("bundled", step=arguments.step)
    with tempfile.TemporaryDirectory() as folder:
        for name, never_ends in (("blank", False), ("endless", True)):
            checkpoint = Path(folder) / name
            write_random_model(checkpoint, RANDOM, answer_tokens=12, never_ends=never_ends)
            rows += measure(name, "--model", str(checkpoint), step=arguments.random_step)
    num_requests = sum(row["requests"] for row in rows)
    num_faults = sum(row[fault] for row in rows for fault in COUNTED)
    print(f"{num_requests} requests, {num_faults} faults")
    record = {"users": USERS, "requests": num_requests, "faults": num_faults, "rows": rows}
    write_record("answers", record, parser=parser, arguments=arguments)
    sys.exit(num_faults > 0)


if __name__ == "__main__":
    main()
