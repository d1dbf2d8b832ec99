"""Streams that an attack disturbs, and what a server must have left afterwards: nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress
from typing import Any

import httpx2
import psutil

from ..e2e.native_api import REQUEST, lines_of
from ..servers import RealServer

SLOTS = 4
"""Sessions that think at the same time on the server of the attacks."""
GREEDY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "2+2"}],  # the tiny model never ends this thinking by itself
    "thinking": {"temperature": 0.0},
}
LONG = GREEDY | {"budget": 200}
ANSWERS_LONG = GREEDY | {"budget": 8, "answer": {"max_tokens": 200}}  # it does not end at 8
EARLY_ANSWERS = GREEDY | {"budget": 200, "budgets": [1, 2, 3], "answer": {"max_tokens": 100}}


def connections(server: RealServer) -> list[Any]:
    port = int(server.url.rpartition(":")[2])
    return [
        connection
        for connection in psutil.Process(server.process.pid).net_connections("inet")
        if connection.laddr.port == port and connection.status != psutil.CONN_LISTEN
    ]


async def metrics(client: httpx2.AsyncClient) -> dict[str, float]:
    lines = (await client.get("/metrics")).text.splitlines()
    plain = (line.split() for line in lines if not line.startswith("#") and "{" not in line)
    return {name.removeprefix("anytime_"): float(value) for name, value in plain}


async def server_is_idle(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            gauges = await metrics(client)
            if not any(gauges[name] for name in ("engine_requests", "sessions_running", "sessions_waiting")):
                return
            await asyncio.sleep(0.02)


class StreamReader:
    """Reads a stream in a separate task."""

    def __init__(self, client: httpx2.AsyncClient, **fields: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()
        self._reading = asyncio.create_task(self._read(client, fields))

    async def _read(self, client: httpx2.AsyncClient, fields: dict[str, Any]) -> None:
        async with client.stream("POST", "/v1/anytime", json=REQUEST | fields) as response:
            async for line in lines_of(response):
                if line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))
                    self._arrived.set()

    async def wait_for(self, kind: str) -> str:
        """Wait for an event of this type, and return the session's id."""
        async with asyncio.timeout(30):
            while kind not in [event["type"] for event in self.events]:
                self._arrived.clear()
                await self._arrived.wait()
        return self.events[0]["id"]

    async def disconnect(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def last(self) -> dict[str, Any]:
        """The terminal event, which must be the only one."""
        await self._reading
        assert [event["type"] for event in self.events if event["type"] in ("done", "error")] == [
            self.events[-1]["type"]
        ]
        return self.events[-1]


def text(reader: StreamReader, kind: str) -> str:
    return "".join(event["text"] for event in reader.events if event["type"] == kind)


async def becomes_ready(client: httpx2.AsyncClient, *, ready: bool = True) -> None:
    """Wait until the server is ready, or until it is not."""
    async with asyncio.timeout(60):
        while ((await client.get("/ready")).status_code == 200) != ready:
            await asyncio.sleep(0.02)


def send_to_engine(server: RealServer, number: signal.Signals) -> list[psutil.Process]:
    """Send a signal to all processes of the engine, and return them."""
    processes = server.engine_processes()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return processes
