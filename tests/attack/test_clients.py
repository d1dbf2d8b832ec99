"""Faults of clients

Each test leaves the shared server without a request, a connection or a process of its own (`client`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from ..e2e.native_api import REQUEST, begin_request, stream
from ..servers import RealServer
from .matrix import attack
from .streams import ANSWERS_LONG, GREEDY, LONG, SLOTS, StreamReader, metrics, server_is_idle

pytestmark = pytest.mark.xdist_group("attacked_server")
PHASES: dict[str, dict[str, Any]] = {
    "thinking": GREEDY,
    "answer.delta": ANSWERS_LONG | {"answer": {"max_tokens": 4000}},
    "answer.started": GREEDY | {"budget": 4000, "budgets": [1, 2, 3], "answer": {"max_tokens": 1000}},
}
"""Requests that take seconds, by the event at which they are in the phase to disturb."""


@asynccontextmanager
async def all_slots_taken(client: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
    others = [StreamReader(client, **GREEDY) for _ in range(2 * SLOTS)]
    for other in others:
        await other.wait_for("started")
    assert (await metrics(client))["sessions_waiting"] >= SLOTS
    yield
    for other in others:
        await other.disconnect()


async def disconnect(client: httpx2.AsyncClient, at: str, **fields: Any) -> None:
    reader = StreamReader(client, **fields)
    await reader.wait_for(at)
    await reader.disconnect()


async def cancel(client: httpx2.AsyncClient, at: str, **fields: Any) -> None:
    reader = StreamReader(client, **fields)
    session_id = await reader.wait_for(at)
    assert (await client.delete(f"/v1/anytime/{session_id}")).status_code == 204
    assert (await reader.last())["error"]["code"] == "cancelled"


@attack(
    done="a client disconnects during the thinking, the answer or an early answer",
    client="",
    left="nothing: all engine requests of the session are aborted",
)
@pytest.mark.parametrize("at", PHASES)
async def test_a_disconnected_client_leaves_nothing(client: httpx2.AsyncClient, at: str) -> None:
    await disconnect(client, at, **PHASES[at])


@attack(done="a client disconnects while its request waits for a slot", client="", left="nothing")
async def test_a_client_that_disconnects_in_the_queue_leaves_nothing(client: httpx2.AsyncClient) -> None:
    async with all_slots_taken(client):
        await disconnect(client, "started")


@attack(
    done="`DELETE` of a session during the thinking, the answer or an early answer",
    client="204, and `error` with the code `cancelled`",
    left="nothing: all engine requests of the session are aborted",
)
@pytest.mark.parametrize("at", PHASES)
async def test_a_cancelled_session_leaves_nothing(client: httpx2.AsyncClient, at: str) -> None:
    await cancel(client, at, **PHASES[at])


@attack(
    done="`DELETE` of a session that waits for a slot",
    client="204, and `error` with the code `cancelled`",
    left="nothing",
)
async def test_a_session_that_is_cancelled_in_the_queue_leaves_nothing(client: httpx2.AsyncClient) -> None:
    async with all_slots_taken(client):
        await cancel(client, "started")


@attack(done="a client asks for three choices and disconnects", client="", left="nothing")
async def test_disconnecting_from_three_choices_leaves_nothing(client: httpx2.AsyncClient) -> None:
    request = REQUEST | {"model": "tiny", "n": 3, "stream": True}
    async with client.stream("POST", "/v1/chat/completions", json=request) as response:
        await anext(response.aiter_bytes())


@attack(done="a body that is not JSON", client="422 with the code `invalid_request`", left="nothing")
async def test_a_body_that_is_not_json_is_refused(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post("/v1/anytime", content=b'{"messages": [', headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


@attack(
    done="a client sends half a body and disconnects",
    client="other clients are served meanwhile",
    left="nothing",
)
async def test_half_a_body_holds_up_nobody(client: httpx2.AsyncClient, attacked_server: RealServer) -> None:
    host, port = attacked_server.address
    _, writer = await begin_request(host, port)
    assert (await stream(client, budget=4))[-1]["type"] == "done"
    writer.close()


@attack(
    done="a client never reads its stream",
    client="other clients are served meanwhile",
    left="nothing: the session ends without a reader",
)
async def test_the_session_of_a_client_that_never_reads_ends(
    client: httpx2.AsyncClient, attacked_server: RealServer
) -> None:
    host, port = attacked_server.address
    _, writer = await asyncio.open_connection(host, port, limit=1)
    body = json.dumps(REQUEST | LONG).encode()
    writer.write(b"POST /v1/anytime HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    assert (await stream(client, budget=4))[-1]["type"] == "done"
    await server_is_idle(client)
    writer.transport.abort()
