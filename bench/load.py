"""What happens when more is asked than there is room for: fixed budgets, queueing, or budgets by load.

Open-loop load: requests arrive at random (Poisson) at a share of the server's capacity, whatever
becomes of the ones before. `simulate` plays it with the scripted engine in virtual time, where capacity
is known exactly and accuracy is read off the checkpoint's curve; `serve` with vLLM over HTTP and
held-out problems, whose answers are graded.

Usage: python bench/load.py simulate | serve
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import virtual_time
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.reasoning import AccuracyPoint
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.text.model import BUNDLED_MODEL, Model
from anytime_server.types import GenerateRequest, RequestContext
from anytime_training.evaluate import held_out_problems, task_of
from serving import add_out, answer_of, client_of, describe, serving, write_record

SHARES = (0.5, 0.8, 1.2, 2.0)
POLICIES = ("queue", "fixed", "shed")
FIXED_BUDGET = 16
"""Of the policy `fixed`: everybody's, whatever the load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one request."""

    latency_s: float
    """From sending it to the last token of its answer."""
    correct: float
    """1 or 0; in the simulation the probability."""
    thinking_tokens: int
    cause: str


Ask = Callable[[int, dict[str, Any]], Awaitable[Outcome]]
"""Ask the question of that number, with these fields of the native dialect."""


async def open_loop(ask: Ask, fields: dict[str, Any], *, rate: float, count: int, seed: int) -> list[Outcome]:
    """`count` requests that arrive at random, `rate` a second."""
    draw, loop = random.Random(seed), asyncio.get_running_loop()
    at, tasks = loop.time(), list[asyncio.Task[Outcome]]()
    for number in range(count):
        at += draw.expovariate(rate)
        await asyncio.sleep(max(0.0, at - loop.time()))
        tasks.append(asyncio.create_task(_one(ask, number, fields)))
    return list(await asyncio.gather(*tasks))


async def _one(ask: Ask, number: int, fields: dict[str, Any]) -> Outcome:
    return await ask(number, fields)


async def closed_loop_rate(ask: Ask, fields: dict[str, Any], *, users: int, count: int) -> float:
    """Requests a second that `users` get through who ask one after the other: the capacity."""
    numbers = iter(range(count))
    began = time.perf_counter()

    async def user() -> None:
        for number in numbers:
            await ask(number, fields)

    await asyncio.gather(*(user() for _ in range(users)))
    return count / (time.perf_counter() - began)


def summary(outcomes: list[Outcome], *, deadline_s: float) -> dict[str, Any]:
    """Of all requests of one run."""
    latencies = sorted(outcome.latency_s for outcome in outcomes)

    def percentile(share: float) -> float:
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))] * 1000

    return {
        "requests": len(outcomes),
        "accuracy": statistics.mean(outcome.correct for outcome in outcomes),
        "latency_ms": {f"p{p}": percentile(p / 100) for p in (50, 95, 99)},
        "in_time": sum(latency <= deadline_s for latency in latencies) / len(latencies),
        "thinking_tokens": statistics.mean(outcome.thinking_tokens for outcome in outcomes),
        "causes": dict(Counter(outcome.cause for outcome in outcomes)),
    }


def expected_accuracy(curve: list[AccuracyPoint], thinking_tokens: int) -> float:
    """Read off the curve, in a straight line between its points and from (0, the chance of a digit)."""
    points = [(0, 0.1), *((point.budget, point.accuracy) for point in curve)]
    place = bisect_right([budget for budget, _ in points], thinking_tokens)
    if place == len(points):
        return points[-1][1]
    (b1, a1), (b2, a2) = points[place - 1 : place + 1]
    return a1 + (a2 - a1) * (thinking_tokens - b1) / (b2 - b1)


@asynccontextmanager
async def simulated(policy: str, *, places: int, seconds_per_token: float) -> AsyncGenerator[Ask, None]:
    """A service on the scripted engine that always thinks to its budget."""
    model = Model.load(BUNDLED_MODEL)
    curve = model.manifest.accuracy_curve
    script = Script(never_end=True, seconds_per_token=seconds_per_token, answer="5")
    engine = ScriptedEngine(model.tokenizer, model.reasoning, script=script, max_num_seqs=places)
    service = Scheduler(model, engine, sheds_load=policy == "shed")
    await service.start()

    async def ask(number: int, fields: dict[str, Any]) -> Outcome:
        content = model.manifest.examples[number % len(model.manifest.examples)]
        sent = time.monotonic()
        session = await service.submit(
            GenerateRequest(
                messages=[{"role": "user", "content": content}],
                seed=number,
                context=RequestContext(arrived_at=time.monotonic()),  # whose default is bound to real time
                **fields,
            )
        )
        await session.ended()
        assert session.done is not None, session.error
        stop = session.done.stop
        return Outcome(
            latency_s=time.monotonic() - sent,
            correct=expected_accuracy(curve, stop.thinking_tokens),
            thinking_tokens=stop.thinking_tokens,
            cause=stop.cause.value,
        )

    try:
        yield ask
    finally:
        await service.stop()


async def simulate(arguments: argparse.Namespace) -> dict[str, Any]:
    """All policies at all loads, on an engine of known capacity."""
    largest, answer_tokens = arguments.budget, 2
    service_s = (largest + answer_tokens) * arguments.seconds_per_token
    capacity, deadline_s = arguments.places / service_s, 2 * service_s
    rows = []
    for share in SHARES:
        for policy in POLICIES:
            budget = FIXED_BUDGET if policy == "fixed" else largest
            for name, fields in _asked(budget, deadline_s, native=False).items():
                async with simulated(
                    policy, places=arguments.places, seconds_per_token=arguments.seconds_per_token
                ) as ask:
                    outcomes = await open_loop(
                        ask, fields, rate=share * capacity, count=arguments.requests, seed=1
                    )
                rows.append(_row(share, policy, name, outcomes, deadline_s))
    return _result(arguments, capacity, deadline_s, rows)


def _asked(budget: int, deadline_s: float, *, native: bool) -> dict[str, dict[str, Any]]:
    """The two ways of asking: for a budget alone, and for a budget and a deadline."""
    if native:
        return {
            "budget": {"budget": budget},
            "deadline": {"budget": {"tokens": budget, "deadline_ms": round(deadline_s * 1000)}},
        }
    return {
        "budget": {"budget_tokens": budget},
        "deadline": {"budget_tokens": budget, "deadline_s": deadline_s},
    }


async def serve(arguments: argparse.Namespace) -> dict[str, Any]:
    """All policies at all loads, on vLLM, with problems that the model was not trained on."""
    model = Model.load(BUNDLED_MODEL)
    task = task_of(None, model.manifest, folder=BUNDLED_MODEL)
    problems = held_out_problems(task, arguments.requests, seed=1)

    def asker(client: httpx2.AsyncClient) -> Ask:
        async def ask(number: int, fields: dict[str, Any]) -> Outcome:
            problem = problems[number % len(problems)]
            answer = await answer_of(client, problem.prompt, seed=number, **fields)
            return Outcome(
                latency_s=answer.latency_s,
                correct=float(task.grade(problem, answer.text)),
                thinking_tokens=answer.stop["thinking_tokens"],
                cause=answer.stop["cause"],
            )

        return ask

    flags = {"shed": ["--shed", "budget"]}
    rows: list[dict[str, Any]] = []
    capacity = deadline_s = 0.0
    for policy in POLICIES:
        with serving(f"--vllm.max-num-seqs={arguments.places}", *flags.get(policy, [])) as url:
            async with client_of(url) as client:
                ask = asker(client)
                if not capacity:
                    full = {"budget": arguments.budget}
                    await closed_loop_rate(ask, full, users=arguments.places, count=8 * arguments.places)
                    users = arguments.places
                    capacity = await closed_loop_rate(ask, full, users=users, count=arguments.requests)
                    deadline_s = 2 * users / capacity
                    print(f"capacity {capacity:.1f} requests a second; deadline {deadline_s * 1000:.0f} ms")
                budget = FIXED_BUDGET if policy == "fixed" else arguments.budget
                for share in SHARES:
                    for name, fields in _asked(budget, deadline_s, native=True).items():
                        outcomes = await open_loop(
                            ask, fields, rate=share * capacity, count=arguments.requests, seed=1
                        )
                        rows.append(_row(share, policy, name, outcomes, deadline_s))
    return _result(arguments, capacity, deadline_s, rows)


def _result(
    arguments: argparse.Namespace, capacity: float, deadline_s: float, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "places": arguments.places,
        "capacity_per_s": capacity,
        "deadline_ms": deadline_s * 1000,
        "rows": rows,
    }


def _row(share: float, policy: str, asked: str, outcomes: list[Outcome], deadline_s: float) -> dict[str, Any]:
    """A row of the record, printed."""
    row = {"load": share, "policy": policy, "asked": asked, **summary(outcomes, deadline_s=deadline_s)}
    latency = row["latency_ms"]
    print(
        f"{row['load']:5.0%}  {row['policy']:5}  {row['asked']:8}  accuracy {row['accuracy']:.3f}  "
        f"p50 {latency['p50']:6.0f} ms  p95 {latency['p95']:6.0f}  p99 {latency['p99']:6.0f}  "
        f"in time {row['in_time']:6.1%}  thinking {row['thinking_tokens']:5.1f}  {row['causes']}",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["simulate", "serve"])
    parser.add_argument("--requests", type=int, default=400, help="in each run (default: %(default)s)")
    parser.add_argument("--places", type=int, default=16, help="sessions at a time (default: %(default)s)")
    parser.add_argument("--budget", type=int, default=96, help="asked for (default: %(default)s)")
    parser.add_argument("--seconds-per-token", type=float, default=0.005, help="of the scripted engine")
    add_out(parser)
    arguments = parser.parse_args()
    if arguments.what == "simulate":
        result = virtual_time.run(simulate(arguments))
    else:
        result = asyncio.run(serve(arguments))
    write_record(f"load_{arguments.what}", describe() | result, out=arguments.out, parser=parser)


if __name__ == "__main__":
    main()
