"""Does the server leak? Sends thousands of requests of all kinds to one server, and abandons many of them.

Users send one request after another in all dialects, with random budgets, early answers, deadlines and
schemas. They read slowly, disconnect, and use the controls. Meanwhile the server's memory, files and
connections are sampled. The exit status is 1 if a response is faulty, if something is left at the end, or if
memory grows.

    python bench/soak.py [--minutes N] [--users N]
"""

from __future__ import annotations

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
from anytime_client.bench.dialects import ParsedStream, RequestTemplate
from anytime_client.sse import Decoder, ServerSentEvent
from api_dialects import API_DIALECTS, ApiDialect, at_temperature, faults_of
from client import TIMEOUT_S
from records import parser_of, write_record
from servers import anytime_server

SAMPLE_S = 1.0
LEFT_S = 10.0
"""Time in which the server ends the last abandoned requests."""
MOST_KIB_PER_1000 = 1024
"""Allowed growth of the memory of all processes, per 1,000 requests. A kibibyte per request is less than the
ids and text of a session take, so that sessions that are never freed show. The KV cache's memory becomes
resident as it is used: a run whose first half does not fill it measures nothing."""
MOST_BUDGET = 96
EXTENSION = 16
"""Thinking tokens that the control `extend` adds."""
GAUGES = ("engine_requests", "sessions_running", "sessions_waiting")
STREAM_ACTIONS = ("read", "read", "read", "read", "slow", "leave", "answer", "extend", "cancel")
WHOLE_ACTIONS = ("read", "read", "read", "leave")
SCHEMA = {"type": "object", "properties": {"digit": {"type": "integer"}}, "required": ["digit"]}
FORM = {"type": "json_schema", "json_schema": {"name": "digit", "schema": SCHEMA}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The server's resources at one time."""

    requests: int
    """Requests sent so far."""
    rss_kib: int
    """Resident memory of all processes, the engine's included."""
    server_rss_kib: int
    """Resident memory of the process that serves HTTP."""
    files: int
    threads: int
    connections: int


@dataclass(slots=True, kw_only=True)
class Soak:
    """The result of a soak."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Requests that were `answered`, `refused`, `left` by the client or `cancelled` by the client."""
    actions: Counter[str] = field(default_factory=Counter)
    dialects: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    """Requests, sessions and connections that the server still had at the end."""

    @property
    def requests(self) -> int:
        return sum(self.dialects.values())

    @property
    def unaccounted(self) -> int:
        """Requests without an outcome or a fault."""
        return self.requests - sum(self.outcomes.values()) - len(self.faults)

    @property
    def growth_kib_per_1000(self) -> float:
        """Growth of memory over the second half of the samples, by linear regression."""
        half = self.samples[len(self.samples) // 2 :]
        fit = statistics.linear_regression([one.requests for one in half], [one.rss_kib for one in half])
        return fit.slope * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, and what the client does with it."""

    dialect: ApiDialect
    is_streamed: bool
    action: str
    body: dict[str, Any]
    most_thinking_tokens: int
    """Of all choices together."""


async def soak(url: str, process: psutil.Process, *, seconds: float, users: int, seed: int = 0) -> Soak:
    """Send requests for this many seconds.

    Args:
        process: the server's.
    """
    result, until = Soak(), time.monotonic() + seconds
    async with _http_client(url) as client:
        card = (await client.get("/v1/models")).json()["data"][0]

        async def user(number: int) -> None:
            draw = random.Random(seed * 1000 + number)
            while time.monotonic() < until:
                asked = _draw(draw, model=card["id"], prompts=card["anytime"]["examples"])
                await _send(client, asked, draw, result)

        async def watch() -> None:
            while True:
                await asyncio.sleep(SAMPLE_S)
                result.samples.append(_sample(process, result.requests))

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(user(number) for number in range(users)))
        watching.cancel()
    result.left = await _left(url, process)
    return result


def _http_client(url: str) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits)


def _draw(draw: random.Random, *, model: str, prompts: Sequence[str]) -> Asked:
    dialect, is_streamed = draw.choice(API_DIALECTS), draw.random() < 0.7
    action = draw.choice(STREAM_ACTIONS if is_streamed else WHOLE_ACTIONS)
    budget = draw.randrange(MOST_BUDGET)
    fields = at_temperature(dialect.name, draw.choice((None, 1.0))) | _optional_fields(dialect, budget, draw)
    template = RequestTemplate(model=model, budget=budget, extra_fields=fields)
    body = dialect.body(template, draw.choice(prompts), draw.randrange(1 << 20), streamed=is_streamed)
    most = (budget + (EXTENSION if action == "extend" else 0)) * body.get("n", 1)
    return Asked(
        dialect=dialect, is_streamed=is_streamed, action=action, body=body, most_thinking_tokens=most
    )


def _optional_fields(dialect: ApiDialect, budget: int, draw: random.Random) -> dict[str, Any]:
    if dialect.name == "chat completions":
        return {"n": draw.choice((1, 1, 1, 2, 3))}
    if dialect.name != "native":
        return {}
    budgets = sorted(draw.sample(range(budget + 1), min(3, budget)))
    return draw.choice(
        (
            {},
            {"budgets": budgets},
            {"stop_when": {"stable": 2, "every_tokens": 8}},
            {"budgets": budgets, "stop_when": {"stable": 3, "every_tokens": 4}},
            {"budget": {"tokens": budget, "deadline_ms": draw.randrange(10, 500)}},
            {"answer": {"response_format": FORM, "max_tokens": 24}},
        )
    )


async def _send(client: httpx2.AsyncClient, asked: Asked, draw: random.Random, result: Soak) -> None:
    result.dialects[asked.dialect.name] += 1
    result.actions[asked.action] += 1
    head = f"{asked.dialect.name}, {asked.action}, {asked.body}"
    try:
        outcome = await (_streamed if asked.is_streamed else _whole)(client, asked, draw)
    except httpx2.HTTPError as error:
        result.faults.append(f"{head}: {error!r}")
        return
    if isinstance(outcome, str):
        result.outcomes[outcome] += 1
    elif faults := faults_of(*outcome, budget=asked.most_thinking_tokens):
        result.faults.append(f"{head}: {', '.join(faults)}: {outcome}")
    else:
        result.outcomes["answered"] += 1


async def _whole(
    client: httpx2.AsyncClient, asked: Asked, draw: random.Random
) -> tuple[ParsedStream, int] | str:
    try:
        async with asyncio.timeout(draw.uniform(0, 0.1) if asked.action == "leave" else None):
            response = await client.post(asked.dialect.base.path, json=asked.body)
    except TimeoutError:
        return "left"
    if _is_refused(response):
        return "refused"
    return asked.dialect.read_whole(response.raise_for_status().json())


async def _streamed(
    client: httpx2.AsyncClient, asked: Asked, draw: random.Random
) -> tuple[ParsedStream, int] | str:
    events, decoder = list[tuple[float, ServerSentEvent]](), Decoder()
    is_cancelled = False
    async with client.stream("POST", asked.dialect.base.path, json=asked.body) as response:
        if _is_refused(response):
            return "refused"
        response.raise_for_status()
        act_at, num_pieces = draw.randrange(1, 12), 0
        async for piece in response.aiter_bytes():
            events += [(0.0, event) for event in decoder.feed(piece)]
            num_pieces += 1
            if num_pieces == act_at:
                if asked.action == "leave":
                    return "left"
                is_cancelled = await _act(client, response.headers["x-request-id"], asked.action, draw)
    return "cancelled" if is_cancelled else asked.dialect.read_stream(events)


async def _act(client: httpx2.AsyncClient, session_id: str, action: str, draw: random.Random) -> bool:
    """Do the action in the middle of the stream. Returns whether that cancelled the session."""
    path = f"/v1/anytime/{session_id}"
    match action:
        case "slow":
            await asyncio.sleep(draw.uniform(0.1, 2.0))
            return False
        case "answer":
            response = await client.post(f"{path}/answer")
        case "extend":
            response = await client.post(f"{path}/extend", json={"tokens": EXTENSION})
        case "cancel":
            response = await client.delete(path)
        case _:
            return False
    if response.status_code not in (404, 409):  # the session may have ended, or be answering
        response.raise_for_status()
    return action == "cancel" and response.is_success


def _is_refused(response: httpx2.Response) -> bool:
    return response.status_code in (429, 503)


def _sample(process: psutil.Process, requests: int) -> Sample:
    processes = [process, *process.children(recursive=True)]
    rss_kib = [one.memory_info().rss // 1024 for one in processes]
    return Sample(
        requests=requests,
        rss_kib=sum(rss_kib),
        server_rss_kib=rss_kib[0],
        files=process.num_fds(),
        threads=process.num_threads(),
        connections=_connections(process),
    )


def _connections(process: psutil.Process) -> int:
    """Connections of clients to the ports that the server listens on."""
    sockets = process.net_connections(kind="tcp")
    ports = {one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN}
    return sum(one.status != psutil.CONN_LISTEN and one.laddr.port in ports for one in sockets)


async def _left(url: str, process: psutil.Process) -> dict[str, int]:
    """Requests, sessions and connections of the server once all are gone, or after `LEFT_S`."""
    until = time.monotonic() + LEFT_S
    while True:
        async with _http_client(url) as client:
            metrics = (await client.get("/metrics")).text
        left = {name: int(float(_metric(metrics, name))) for name in GAUGES}
        await asyncio.sleep(0.1)  # the server notices the end of this connection, too
        left["connections"] = _connections(process)
        if not any(left.values()) or time.monotonic() > until:
            return left


def _metric(metrics: str, name: str) -> str:
    found = re.search(rf"^anytime_{name} (\S+)$", metrics, re.MULTILINE)
    assert found is not None, f"the server has no metric anytime_{name}"
    return found[1]


def summary_of(result: Soak) -> dict[str, Any]:
    """The record without its samples."""
    return {
        "requests": result.requests,
        "dialects": dict(result.dialects),
        "actions": dict(result.actions),
        "outcomes": dict(result.outcomes),
        "faults": len(result.faults),
        "unaccounted": result.unaccounted,
        "left": result.left,
        "growth_kib_per_1000_requests": round(result.growth_kib_per_1000, 1),
        "most_growth": MOST_KIB_PER_1000,
        "first": asdict(result.samples[0]),
        "last": asdict(result.samples[-1]),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="duration (default: %(default)s)")
    parser.add_argument("--users", type=int, default=12, help="concurrent requests (default: %(default)s)")
    arguments = parser.parse_args()
    with anytime_server() as server:
        seconds = arguments.minutes * 60
        result = asyncio.run(soak(server.url, server.process, seconds=seconds, users=arguments.users))
    record = summary_of(result)
    for name, value in record.items():
        print(f"{name:30} {value}")
    for fault in result.faults[:10]:
        print(fault, file=sys.stderr)
    record["samples"] = [asdict(one) for one in result.samples[:: max(1, len(result.samples) // 60)]]
    write_record("soak", record, parser=parser, arguments=arguments)
    has_grown = result.growth_kib_per_1000 > MOST_KIB_PER_1000
    sys.exit(bool(result.faults or result.unaccounted or any(result.left.values()) or has_grown))


if __name__ == "__main__":
    main()
