"""Faults of clients and of the engine: what clients see, and that nothing of a request is left behind.

All tests share one server, which must survive them. `docs/faults.md` describes the same faults.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from ..servers import RealServer, start
from .native_api import REQUEST, begin_request, lines_of, stream

SLOTS = 4
STALL_S = 4
GREEDY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "2+2"}],  # the tiny model never ends this thinking by itself
    "thinking": {"temperature": 0.0},
}
LONG = GREEDY | {"budget": 200}
ANSWERS_LONG = GREEDY | {"budget": 0, "answer": {"max_tokens": 200}}
EARLY_ANSWERS = GREEDY | {"budget": 200, "budgets": [1, 2, 3], "answer": {"max_tokens": 100}}


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path) -> Generator[RealServer, None, None]:
    options = ("--vllm.max-num-seqs", str(SLOTS), "--engine-stall-s", str(STALL_S))
    server = start(["--model", str(tiny_checkpoint), *options])
    yield server
    server.stop()


@pytest.fixture
async def client(server: RealServer) -> AsyncGenerator[httpx2.AsyncClient, None]:
    """Checks after the test that no request, connection or process is left."""
    async with server.client() as client:
        yield client
        await server_is_idle(client)
    async with asyncio.timeout(10):
        while connections(server):
            await asyncio.sleep(0.02)
    assert [process.name() for process in server.engine_processes()] == ["VLLM::EngineCore"]


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


@asynccontextmanager
async def all_slots_taken(client: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
    others = [StreamReader(client, thinking={"seed": n}) for n in range(2 * SLOTS)]
    for other in others:
        await other.wait_for("started")
    yield
    for other in others:
        await other.disconnect()


Fault = Callable[[httpx2.AsyncClient, RealServer], Awaitable[None]]


def disconnects(at: str, **fields: Any) -> Fault:
    async def fault(client: httpx2.AsyncClient, server: RealServer) -> None:
        reader = StreamReader(client, **fields)
        await reader.wait_for(at)
        await reader.disconnect()

    return fault


def cancels(at: str, **fields: Any) -> Fault:
    async def fault(client: httpx2.AsyncClient, server: RealServer) -> None:
        reader = StreamReader(client, **fields)
        session_id = await reader.wait_for(at)
        assert (await client.delete(f"/v1/anytime/{session_id}")).status_code == 204
        assert (await reader.last())["error"]["code"] == "cancelled"

    return fault


def while_waiting(fault: Fault) -> Fault:
    async def queued(client: httpx2.AsyncClient, server: RealServer) -> None:
        async with all_slots_taken(client):
            assert (await metrics(client))["sessions_waiting"] >= SLOTS
            await fault(client, server)

    return queued


async def sends_invalid_json(client: httpx2.AsyncClient, server: RealServer) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post("/v1/anytime", content=b'{"messages": [', headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


async def sends_half_a_body(client: httpx2.AsyncClient, server: RealServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    _, writer = await begin_request(host, int(port))
    assert (await stream(client, budget=4))[-1]["type"] == "done"  # other requests are served meanwhile
    writer.close()


async def never_reads(client: httpx2.AsyncClient, server: RealServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1)
    body = json.dumps(REQUEST | LONG).encode()
    writer.write(b"POST /v1/anytime HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    assert (await stream(client, budget=4))[-1]["type"] == "done"
    await server_is_idle(client)  # the session ends without a reader
    writer.transport.abort()


async def requests_three_choices_and_disconnects(client: httpx2.AsyncClient, server: RealServer) -> None:
    request = REQUEST | {"model": "tiny", "n": 3, "stream": True}
    async with client.stream("POST", "/v1/chat/completions", json=request) as response:
        await anext(response.aiter_bytes())


CLIENT_FAULTS: dict[str, Fault] = {
    "disconnects while waiting": while_waiting(disconnects("started")),
    "disconnects while thinking": disconnects("thinking", **LONG),
    "disconnects while answering": disconnects("answer.delta", **ANSWERS_LONG),
    "disconnects in an early answer": disconnects("answer.started", **EARLY_ANSWERS),
    "cancels while waiting": while_waiting(cancels("started")),
    "cancels while thinking": cancels("thinking", **LONG),
    "cancels while answering": cancels("answer.delta", **ANSWERS_LONG),
    "cancels in an early answer": cancels("answer.started", **EARLY_ANSWERS),
    "sends invalid JSON": sends_invalid_json,
    "sends half a body": sends_half_a_body,
    "never reads": never_reads,
    "requests three choices and disconnects": requests_three_choices_and_disconnects,
}


@pytest.mark.parametrize("fault", CLIENT_FAULTS.values(), ids=CLIENT_FAULTS.keys())
async def test_a_client_fault_leaves_nothing(
    fault: Fault, client: httpx2.AsyncClient, server: RealServer
) -> None:
    await fault(client, server)


def text(reader: StreamReader, kind: str) -> str:
    return "".join(event["text"] for event in reader.events if event["type"] == kind)


async def engine_is_down(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while (await client.get("/ready")).status_code == 200:
            await asyncio.sleep(0.02)


async def engine_is_up(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while (await client.get("/ready")).status_code == 503:
            await asyncio.sleep(0.1)


async def test_requests_survive_a_killed_engine(client: httpx2.AsyncClient, server: RealServer) -> None:
    """Greedy requests give the same text as without the fault, in whatever phase the engine died."""
    kinds: dict[str, dict[str, Any]] = {
        "thinking": LONG,
        "answer.delta": ANSWERS_LONG,
        "answer.started": EARLY_ANSWERS,
    }
    undisturbed = {kind: StreamReader(client, **fields) for kind, fields in kinds.items()}
    for reader in undisturbed.values():
        await reader.last()
    disturbed = {kind: StreamReader(client, **fields) for kind, fields in kinds.items()}
    sampled = StreamReader(client, budget=150, thinking={"seed": 5})
    for kind, reader in disturbed.items():
        await reader.wait_for(kind)
    kill(server)
    for kind, reader in disturbed.items():
        done = await reader.last()
        assert (done["type"], text(reader, "thinking")) == ("done", text(undisturbed[kind], "thinking"))
        before = undisturbed[kind].events[-1]
        assert done["stop"] == before["stop"]
        assert done["usage"]["answer_tokens"] == before["usage"]["answer_tokens"]
        assert done["answer"] == before["answer"]
    done = await sampled.last()
    assert done["stop"]["thinking_tokens"] <= 150
    await engine_is_up(client)


async def test_controls_work_while_a_killed_engine_restarts(
    client: httpx2.AsyncClient, server: RealServer
) -> None:
    json_answer: dict[str, Any] = {"response_format": {"type": "json_object"}, "max_tokens": 300}
    # The first schema takes seconds, in which the others would end.
    first: dict[str, Any] = ANSWERS_LONG | {"answer": json_answer | {"max_tokens": 1}}
    await stream(client, **first)
    answered, cancelled, left = (StreamReader(client, **GREEDY) for _ in range(3))
    structured = StreamReader(client, **ANSWERS_LONG | {"answer": json_answer})
    for reader in (answered, cancelled, left):
        await reader.wait_for("thinking")
    await structured.wait_for("answer.delta")
    late = StreamReader(client, **GREEDY, budget={"deadline_ms": 1000})
    await late.wait_for("thinking")
    kill(server)
    await engine_is_down(client)
    kill(server)  # the next engine, if it is starting already
    refused = await client.post("/v1/anytime", json=REQUEST)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    accepted = await client.post(f"/v1/anytime/{answered.events[0]['id']}/answer")
    assert accepted.status_code == 202
    assert (await client.delete(f"/v1/anytime/{cancelled.events[0]['id']}")).status_code == 204
    assert (await cancelled.last())["error"]["code"] == "cancelled"
    await left.disconnect()
    for reader in (answered, late):
        await reader.wait_for("answer.started")
    assert (await client.get("/ready")).status_code == 503  # the thinking ended before the engine was back
    for reader, cause in ((answered, "client"), (late, "deadline")):
        done = await reader.last()
        assert (done["type"], done["stop"]["cause"]) == ("done", cause)
        assert done["answer"]
    assert (await structured.last())["error"]["code"] == "engine_dead"
    await engine_is_up(client)


async def test_a_hanging_engine_is_replaced(client: httpx2.AsyncClient, server: RealServer) -> None:
    readers = [StreamReader(client, **LONG) for _ in range(2)]
    for reader in readers:
        await reader.wait_for("thinking")
    [hanging] = server.engine_processes()
    hanging.send_signal(signal.SIGSTOP)
    for reader in readers:
        assert (await reader.last())["type"] == "done"
    assert not hanging.is_running()
    await engine_is_up(client)


def kill(server: RealServer) -> None:
    for process in server.engine_processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()
