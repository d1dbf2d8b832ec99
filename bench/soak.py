"""Does anything stay behind? Thousands of requests of all kinds, many of them given up, to one server.

Users ask one request after another in all dialects, with random budgets, ladders, deadlines and schemas;
they read slowly, go away, press the controls. Meanwhile the server's memory, files and connections are
looked at. Usage: python bench/soak.py [--minutes N] [--users N]. Ends with status 1 if a response is not
as it should be, something is left at the end, or memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx2
import psutil
from anytime_client import sse
from dialects import DIALECTS, Asked, Dialect, Reply
from serving import add_out, client_of, describe, examples, serving, write_record

SAMPLE_S = 1.0
LEFT_S = 10.0
"""In which the server is rid of what was given up last."""
MOST_KIB_PER_1000 = 1024
"""By which the memory of all processes may grow. It is a kibibyte for each request: less than the ids
and the text of one session should take, so that sessions that are kept show. The KV cache's memory is taken
as it is used, so that a run that does not fill it within its first half tells nothing of this."""
MOST_BUDGET = 96
GAUGES = ("engine_requests", "sessions_running", "sessions_waiting")
STREAM_ACTIONS = ("read", "read", "read", "read", "slow", "leave", "answer", "extend", "cancel")
WHOLE_ACTIONS = ("read", "read", "read", "leave")
SCHEMA = {"type": "object", "properties": {"digit": {"type": "integer"}}, "required": ["digit"]}
FORM = {"type": "json_schema", "json_schema": {"name": "digit", "schema": SCHEMA}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the server has at one time."""

    requests: int
    """Asked so far."""
    rss_kib: int
    """Resident memory of all its processes, the engine's included."""
    server_rss_kib: int
    """Of that, of the one that speaks HTTP."""
    files: int
    threads: int
    connections: int


@dataclass(slots=True, kw_only=True)
class Soak:
    """What came of it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Of each request: `answered`, `refused`, `left` by us or `cancelled` by us."""
    actions: Counter[str] = field(default_factory=Counter)
    dialects: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    """What the server still had to do at the end."""

    @property
    def requests(self) -> int:
        return sum(self.dialects.values())

    @property
    def unaccounted(self) -> int:
        """Requests of which nothing is known."""
        return self.requests - sum(self.outcomes.values()) - len(self.faults)

    @property
    def growth_kib_per_1000(self) -> float:
        """Of memory over the second half, by a straight line."""
        half = self.samples[len(self.samples) // 2 :]
        fit = statistics.linear_regression([one.requests for one in half], [one.rss_kib for one in half])
        return fit.slope * 1000


async def soak(url: str, process: psutil.Process, *, seconds: float, users: int, seed: int = 0) -> Soak:
    """Ask for so long.

    Args:
        process: the server.
    """
    result, until = Soak(), time.monotonic() + seconds
    async with client_of(url) as client:
        model = (await client.get("/v1/models")).json()["data"][0]["id"]
        prompts = await examples(client)

        async def user(number: int) -> None:
            draw = random.Random(seed * 1000 + number)
            while time.monotonic() < until:
                await _ask(client, draw, result, model=model, prompt=draw.choice(prompts))

        async def watch() -> None:
            while True:
                await asyncio.sleep(SAMPLE_S)
                result.samples.append(_sample(process, result.requests))

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(user(number) for number in range(users)))
        watching.cancel()
    result.left = await _left(url, process)
    return result


async def _ask(
    client: httpx2.AsyncClient, draw: random.Random, result: Soak, *, model: str, prompt: str
) -> None:
    dialect, streamed = draw.choice(DIALECTS), draw.random() < 0.7
    action = draw.choice(STREAM_ACTIONS if streamed else WHOLE_ACTIONS)
    asked = Asked(
        model=model,
        prompt=prompt,
        budget=draw.randrange(MOST_BUDGET),
        temperature=draw.choice((None, 1.0)),
        seed=draw.randrange(1 << 20),
    )
    body = dialect.body(asked) | _more(dialect, asked, draw) | {"stream": streamed}
    result.dialects[dialect.name] += 1
    result.actions[action] += 1
    try:
        if streamed:
            outcome = await _streamed(client, dialect, body, action, draw)
        else:
            outcome = await _whole(client, dialect, body, action, draw)
    except httpx2.HTTPError as error:
        result.faults.append(f"{dialect.name}, {action}, {body}: {error!r}")
        return
    if isinstance(outcome, str):
        result.outcomes[outcome] += 1
    elif fault := _fault(outcome, asked.budget + (EXTENDED if action == "extend" else 0)):
        result.faults.append(f"{dialect.name}, {action}, {body}: {fault}: {outcome}")
    else:
        result.outcomes["answered"] += 1


EXTENDED = 16


def _more(dialect: Dialect, asked: Asked, draw: random.Random) -> dict[str, Any]:
    """What only some requests ask for."""
    if dialect.name == "chat completions":
        return {"n": draw.choice((1, 1, 1, 2, 3))}
    if dialect.name != "native":
        return {}
    ladder = sorted(draw.sample(range(asked.budget + 1), min(3, asked.budget)))
    return draw.choice(
        (
            {},
            {"budgets": ladder},
            {"stop_when": {"stable": 2, "every_tokens": 8}},
            {"budgets": ladder, "stop_when": {"stable": 3, "every_tokens": 4}},
            {"budget": {"tokens": asked.budget, "deadline_ms": draw.randrange(10, 500)}},
            {"answer": {"response_format": FORM, "max_tokens": 24}},
        )
    )


async def _whole(
    client: httpx2.AsyncClient, dialect: Dialect, body: dict[str, Any], action: str, draw: random.Random
) -> Reply | str:
    try:
        async with asyncio.timeout(draw.uniform(0, 0.1) if action == "leave" else None):
            response = await client.post(dialect.path, json=body)
    except TimeoutError:
        return "left"
    if _is_refused(response):
        return "refused"
    response.raise_for_status()
    return dialect.whole(response.json())


async def _streamed(
    client: httpx2.AsyncClient, dialect: Dialect, body: dict[str, Any], action: str, draw: random.Random
) -> Reply | str:
    events, decoder = list[sse.ServerSentEvent](), sse.Decoder()
    is_cancelled = False
    async with client.stream("POST", dialect.path, json=body) as response:
        if _is_refused(response):
            return "refused"
        response.raise_for_status()
        act_at = draw.randrange(1, 12)
        pieces = 0
        async for piece in response.aiter_bytes():
            events += decoder.feed(piece)
            pieces += 1
            if pieces == act_at:
                if action == "leave":
                    return "left"
                is_cancelled = await _act(client, response.headers["x-request-id"], action, draw)
    return "cancelled" if is_cancelled else dialect.streamed(events)


async def _act(client: httpx2.AsyncClient, session_id: str, action: str, draw: random.Random) -> bool:
    """Do what is to be done amid a stream; whether it was cancelled by that."""
    path = f"/v1/anytime/{session_id}"
    match action:
        case "slow":
            await asyncio.sleep(draw.uniform(0.1, 2.0))
            return False
        case "answer":
            response = await client.post(f"{path}/answer")
        case "extend":
            response = await client.post(f"{path}/extend", json={"tokens": EXTENDED})
        case "cancel":
            response = await client.delete(path)
        case _:
            return False
    if response.status_code not in (404, 409):  # it may have ended, or be answering
        response.raise_for_status()
    return action == "cancel" and response.is_success


def _is_refused(response: httpx2.Response) -> bool:
    return response.status_code in (429, 503)


def _fault(reply: Reply, budget: int) -> str | None:
    if reply.num_ends != 1 or reply.stop is None:
        return "no end"
    if not reply.answer.strip():
        return "no answer"
    if reply.stop["thinking_tokens"] > min(budget, reply.stop["budget_tokens"]):
        return "over the budget"
    return None


def _sample(process: psutil.Process, requests: int) -> Sample:
    everyone = [process, *process.children(recursive=True)]
    rss_kib = [one.memory_info().rss // 1024 for one in everyone]
    return Sample(
        requests=requests,
        rss_kib=sum(rss_kib),
        server_rss_kib=rss_kib[0],
        files=process.num_fds(),
        threads=process.num_threads(),
        connections=_connections(process),
    )


def _connections(process: psutil.Process) -> int:
    """Those of clients, to where it listens."""
    sockets = process.net_connections(kind="tcp")
    ports = {one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN}
    return sum(one.status != psutil.CONN_LISTEN and one.laddr.port in ports for one in sockets)


async def _left(url: str, process: psutil.Process) -> dict[str, int]:
    """What there still is to do, once the clients have gone and the server has had its time."""
    until = time.monotonic() + LEFT_S
    while True:
        async with client_of(url) as client:
            metrics = (await client.get("/metrics")).text
        left = {name: int(float(_metric(metrics, name))) for name in GAUGES}
        await asyncio.sleep(0.1)  # the server sees that this client has gone, too
        left["connections"] = _connections(process)
        if not any(left.values()) or time.monotonic() > until:
            return left


def _metric(metrics: str, name: str) -> str:
    found = re.search(rf"^anytime_{name} (\S+)$", metrics, re.MULTILINE)
    assert found is not None, f"the server has no anytime_{name}"
    return found[1]


def report(result: Soak) -> dict[str, Any]:
    """For the record; is printed, too."""
    first, last = result.samples[0], result.samples[-1]
    record = {
        "requests": result.requests,
        "dialects": dict(result.dialects),
        "actions": dict(result.actions),
        "outcomes": dict(result.outcomes),
        "faults": len(result.faults),
        "unaccounted": result.unaccounted,
        "left": result.left,
        "growth_kib_per_1000_requests": round(result.growth_kib_per_1000, 1),
        "most_growth": MOST_KIB_PER_1000,
        "first": asdict(first),
        "last": asdict(last),
    }
    for name, value in record.items():
        print(f"{name:30} {value}")
    return record


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)s)")
    parser.add_argument("--users", type=int, default=12, help="who ask at a time (default: %(default)s)")
    add_out(parser)
    arguments = parser.parse_args(argv)
    with serving() as url:
        (process,) = psutil.Process().children()
        seconds = arguments.minutes * 60
        result = asyncio.run(soak(url, process, seconds=seconds, users=arguments.users))
    record = report(result)
    for fault in result.faults[:10]:
        print(fault, file=sys.stderr)
    record["samples"] = [asdict(one) for one in result.samples[:: max(1, len(result.samples) // 60)]]
    write_record("soak", describe() | record, out=arguments.out, parser=parser)
    has_grown = result.growth_kib_per_1000 > MOST_KIB_PER_1000
    sys.exit(bool(result.faults or result.unaccounted or any(result.left.values()) or has_grown))


if __name__ == "__main__":
    main()
