"""The fault matrix: what is done, what the client sees, and that nothing of it is left in the server.

All on one server, which must outlive them. `docs/faults.md` shows the same in words.
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
from .asking import QUESTION, begin_request, stream

SEATS = 4
STALL_S = 4
GREEDY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "2+2"}],  # to which the tiny model thinks on and on
    "thinking": {"temperature": 0.0},
}
LONG = GREEDY | {"budget": 200}
ANSWERS_LONG = GREEDY | {"budget": 0, "answer": {"max_tokens": 200}}
PROVISIONAL = GREEDY | {"budget": 200, "budgets": [1, 2, 3], "answer": {"max_tokens": 100}}


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path) -> Generator[RealServer, None, None]:
    options = ("--vllm.max-num-seqs", str(SEATS), "--engine-stall-s", str(STALL_S))
    server = start(["--model", str(tiny_checkpoint), *options])
    yield server
    server.stop()


@pytest.fixture
async def client(server: RealServer) -> AsyncGenerator[httpx2.AsyncClient, None]:
    """And whatever is done with it, nothing of it is left."""
    async with server.client() as client:
        yield client
        await nothing_is_under_way(client)
    async with asyncio.timeout(10):
        while connections(server):
            await asyncio.sleep(0.02)
    assert [process.name() for process in server.engine_processes()] == ["VLLM::EngineCore"]


def connections(server: RealServer) -> list[Any]:
    port = int(server.url.rpartition(":")[2])
    return [
        one
        for one in psutil.Process(server.process.pid).net_connections("inet")
        if one.laddr.port == port and one.status != psutil.CONN_LISTEN
    ]


async def figures(client: httpx2.AsyncClient) -> dict[str, float]:
    lines = (await client.get("/metrics")).text.splitlines()
    plain = (line.split() for line in lines if not line.startswith("#") and "{" not in line)
    return {name.removeprefix("anytime_"): float(value) for name, value in plain}


async def nothing_is_under_way(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            now = await figures(client)
            if not any(now[name] for name in ("engine_requests", "sessions_running", "sessions_waiting")):
                return
            await asyncio.sleep(0.02)


class Listener:
    """Reads a stream, and tells how far it has come."""

    def __init__(self, client: httpx2.AsyncClient, **fields: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read(client, fields))

    async def _read(self, client: httpx2.AsyncClient, fields: dict[str, Any]) -> None:
        async with client.stream("POST", "/v1/anytime", json=QUESTION | fields) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))
                    self._news.set()

    async def heard(self, kind: str) -> str:
        """Wait for an event of this type; the session's id."""
        async with asyncio.timeout(30):
            while kind not in [event["type"] for event in self.events]:
                self._news.clear()
                await self._news.wait()
        return self.events[0]["id"]

    async def hang_up(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def last(self) -> dict[str, Any]:
        """The event that ended it. There was one only."""
        await self._reading
        assert [event["type"] for event in self.events if event["type"] in ("done", "error")] == [
            self.events[-1]["type"]
        ]
        return self.events[-1]


@asynccontextmanager
async def all_seats_taken(client: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
    others = [Listener(client, thinking={"seed": n}) for n in range(2 * SEATS)]
    for other in others:
        await other.heard("started")
    yield
    for other in others:
        await other.hang_up()


Fault = Callable[[httpx2.AsyncClient, RealServer], Awaitable[None]]


def goes_away(at: str, **fields: Any) -> Fault:
    async def fault(client: httpx2.AsyncClient, server: RealServer) -> None:
        listener = Listener(client, **fields)
        await listener.heard(at)
        await listener.hang_up()

    return fault


def cancels(at: str, **fields: Any) -> Fault:
    async def fault(client: httpx2.AsyncClient, server: RealServer) -> None:
        listener = Listener(client, **fields)
        session_id = await listener.heard(at)
        assert (await client.delete(f"/v1/anytime/{session_id}")).status_code == 204
        assert (await listener.last())["error"]["code"] == "cancelled"

    return fault


def while_waiting(fault: Fault) -> Fault:
    async def waits(client: httpx2.AsyncClient, server: RealServer) -> None:
        async with all_seats_taken(client):
            assert (await figures(client))["sessions_waiting"] >= SEATS
            await fault(client, server)

    return waits


async def sends_no_json(client: httpx2.AsyncClient, server: RealServer) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post("/v1/anytime", content=b'{"messages": [', headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


async def stops_in_the_middle_of_a_body(client: httpx2.AsyncClient, server: RealServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    _, writer = await begin_request(host, int(port))
    assert (await stream(client, budget=4))[-1]["type"] == "done"  # others are served meanwhile
    writer.close()


async def never_reads(client: httpx2.AsyncClient, server: RealServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1)
    body = json.dumps(QUESTION | LONG).encode()
    writer.write(b"POST /v1/anytime HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    assert (await stream(client, budget=4))[-1]["type"] == "done"
    await nothing_is_under_way(client)  # it ends all the same
    writer.transport.abort()


async def asks_for_three_choices_and_goes_away(client: httpx2.AsyncClient, server: RealServer) -> None:
    question = QUESTION | {"model": "tiny", "n": 3, "stream": True}
    async with client.stream("POST", "/v1/chat/completions", json=question) as response:
        await anext(response.aiter_bytes())


CLIENT_FAULTS: dict[str, Fault] = {
    "goes away while it waits": while_waiting(goes_away("started")),
    "goes away while it thinks": goes_away("thinking", **LONG),
    "goes away while it answers": goes_away("answer.delta", **ANSWERS_LONG),
    "goes away in a provisional answer": goes_away("answer.started", **PROVISIONAL),
    "cancels while it waits": while_waiting(cancels("started")),
    "cancels while it thinks": cancels("thinking", **LONG),
    "cancels while it answers": cancels("answer.delta", **ANSWERS_LONG),
    "cancels in a provisional answer": cancels("answer.started", **PROVISIONAL),
    "sends no JSON": sends_no_json,
    "stops in the middle of a body": stops_in_the_middle_of_a_body,
    "never reads": never_reads,
    "asks for three choices and goes away": asks_for_three_choices_and_goes_away,
}


@pytest.mark.parametrize("fault", CLIENT_FAULTS.values(), ids=CLIENT_FAULTS.keys())
async def test_a_client(fault: Fault, client: httpx2.AsyncClient, server: RealServer) -> None:
    await fault(client, server)


def said(listener: Listener, kind: str) -> str:
    return "".join(event["text"] for event in listener.events if event["type"] == kind)


async def engine_is_down(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while (await client.get("/ready")).status_code == 200:
            await asyncio.sleep(0.02)


async def engine_is_up(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while (await client.get("/ready")).status_code == 503:
            await asyncio.sleep(0.1)


async def test_the_engine_is_killed_under_all_phases(client: httpx2.AsyncClient, server: RealServer) -> None:
    """They go on from where they were, and greedy ones say what they would have said."""
    kinds: dict[str, dict[str, Any]] = {
        "thinking": LONG,
        "answer.delta": ANSWERS_LONG,
        "answer.started": PROVISIONAL,
    }
    undisturbed = {kind: Listener(client, **fields) for kind, fields in kinds.items()}
    for listener in undisturbed.values():
        await listener.last()
    disturbed = {kind: Listener(client, **fields) for kind, fields in kinds.items()}
    sampled = Listener(client, budget=150, thinking={"seed": 5})
    for kind, listener in disturbed.items():
        await listener.heard(kind)
    kill(server)
    for kind, listener in disturbed.items():
        done = await listener.last()
        assert (done["type"], said(listener, "thinking")) == ("done", said(undisturbed[kind], "thinking"))
        before = undisturbed[kind].events[-1]
        assert done["stop"] == before["stop"]
        assert done["usage"]["answer_tokens"] == before["usage"]["answer_tokens"]
        assert done["answer"] == before["answer"]
    done = await sampled.last()
    assert done["stop"]["thinking_tokens"] <= 150
    await engine_is_up(client)


async def test_the_engine_is_killed_and_controls_are_used_meanwhile(
    client: httpx2.AsyncClient, server: RealServer
) -> None:
    answered, cancelled, left = (Listener(client, **GREEDY) for _ in range(3))
    structured = Listener(
        client, **ANSWERS_LONG | {"answer": {"response_format": {"type": "json_object"}, "max_tokens": 300}}
    )
    for listener in (answered, cancelled, left):
        await listener.heard("thinking")
    await structured.heard("answer.delta")
    late = Listener(client, **GREEDY, budget={"deadline_ms": 1000})
    await late.heard("thinking")
    kill(server)
    await engine_is_down(client)
    kill(server)  # the one that is just being started, if it is
    refused = await client.post("/v1/anytime", json=QUESTION)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    told = await client.post(f"/v1/anytime/{answered.events[0]['id']}/answer")
    assert told.status_code == 202
    assert (await client.delete(f"/v1/anytime/{cancelled.events[0]['id']}")).status_code == 204
    assert (await cancelled.last())["error"]["code"] == "cancelled"
    await left.hang_up()
    for listener in (answered, late):
        await listener.heard("answer.started")
    assert (await client.get("/ready")).status_code == 503  # the thinking ended without an engine
    for listener, cause in ((answered, "client"), (late, "deadline")):
        done = await listener.last()
        assert (done["type"], done["stop"]["cause"]) == ("done", cause)
        assert done["answer"]
    assert (await structured.last())["error"]["code"] == "engine_dead"
    await engine_is_up(client)


async def test_the_engine_hangs(client: httpx2.AsyncClient, server: RealServer) -> None:
    listeners = [Listener(client, **LONG) for _ in range(2)]
    for listener in listeners:
        await listener.heard("thinking")
    [hanging] = server.engine_processes()
    hanging.send_signal(signal.SIGSTOP)
    for listener in listeners:
        assert (await listener.last())["type"] == "done"
    assert not hanging.is_running()
    await engine_is_up(client)


def kill(server: RealServer) -> None:
    for process in server.engine_processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()
