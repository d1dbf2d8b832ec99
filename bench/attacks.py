"""Costs of attacks without a key: the memory before, during and after, and the slowest /health.

Three attacks, each on a server of its own with the scripted engine: requests pipelined on one connection
while the responses are read; a refused body of 300,000 empty objects; six prompts of a megabyte at once.

    python bench/attacks.py [--seconds N] [--against CHECKOUT]
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from records import parser_of, write_record
from servers import Server, anytime_server

PIPELINED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
PARTS = b'{"messages":[{"role":"user","content":[' + b"{}," * 299_999 + b"{}]}]}"
LONG_PROMPT = json.dumps({"messages": [{"role": "user", "content": "hello 7-3 " * 100_000}]}).encode()
NUM_LONG_PROMPTS = 6
SETTLED_S = 2.0
"""Time after an attack before memory is measured again."""
HEALTH_EVERY_S, HEALTH_TIMEOUT_S = 0.05, 120

Attack = Callable[[Server, float], Awaitable[None]]


async def pipelines(server: Server, seconds: float) -> None:
    """Send `GET /` without end on one connection, and read the responses."""
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)

    async def send() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(PIPELINED)
                await writer.drain()

    async def read() -> None:
        with suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass

    tasks = [asyncio.create_task(send()), asyncio.create_task(read())]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    writer.transport.abort()


async def sends_a_refused_body(server: Server, seconds: float) -> None:
    """One body of 900 kB that fails validation in 300,000 ways."""
    await _post(server, PARTS)


async def sends_long_prompts(server: Server, seconds: float) -> None:
    """Six prompts of a megabyte, far over the window, at once."""
    await asyncio.gather(*(_post(server, LONG_PROMPT) for _ in range(NUM_LONG_PROMPTS)))


ATTACKS: dict[str, Attack] = {
    "pipelined requests": pipelines,
    "a refused body": sends_a_refused_body,
    "long prompts": sends_long_prompts,
}


async def _post(server: Server, body: bytes) -> None:
    async with httpx2.AsyncClient(base_url=server.url, timeout=HEALTH_TIMEOUT_S) as client:
        response = await client.post(
            "/v1/anytime", content=body, headers={"Content-Type": "application/json"}
        )
        if not response.is_client_error:
            sys.exit(f"the attack was answered with {response.status_code}")


@asynccontextmanager
async def _watched(server: Server) -> AsyncIterator[dict[str, float]]:
    """Request /health all the time; the slowest response and the most memory so far."""
    seen = {"health_max_s": 0.0, "rss_max_mib": server.rss_mib()}

    async def watch() -> None:
        async with httpx2.AsyncClient(base_url=server.url, timeout=HEALTH_TIMEOUT_S) as client:
            while True:
                began_at = time.perf_counter()
                await client.get("/health")
                seen["health_max_s"] = max(seen["health_max_s"], time.perf_counter() - began_at)
                seen["rss_max_mib"] = max(seen["rss_max_mib"], server.rss_mib())
                await asyncio.sleep(HEALTH_EVERY_S)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(SETTLED_S)
    try:
        yield seen
        await asyncio.sleep(SETTLED_S)
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def measure(attack: Attack, server: Server, seconds: float) -> dict[str, float]:
    """Memory in MiB and the slowest /health in seconds."""
    before = server.rss_mib()
    async with _watched(server) as seen:
        await attack(server, seconds)
    measured = {"rss_before_mib": before, **seen, "rss_after_mib": server.rss_mib()}
    return {name: round(value, 3 if name.endswith("_s") else 0) for name, value in measured.items()}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="duration of the endless attack (30)")
    parser.add_argument("--against", metavar="CHECKOUT", help="its server is measured, too")
    arguments = parser.parse_args()
    trees = {"here": Path(__file__).resolve().parents[1]}
    if arguments.against is not None:
        trees["against"] = Path(arguments.against).resolve()
    measured: dict[str, Any] = {}
    for name, attack in ATTACKS.items():
        for label, tree in trees.items():
            os.environ["PYTHONPATH"] = str(tree / "server")
            with anytime_server("--engine", "scripted") as server:
                found = asyncio.run(measure(attack, server, arguments.seconds))
            print(f"{name}, {label}: {found}", flush=True)
            measured.setdefault(name, {})[label] = found
    write_record("attacks", {"attacks": measured}, parser=parser, arguments=arguments)


if __name__ == "__main__":
    main()
