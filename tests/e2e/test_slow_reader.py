"""A client that does not read: its session ends without it, and then the client is disconnected."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable

import psutil

from ..servers import RealServer
from .native_api import REQUEST, engine_is_idle, think

SMALLEST_BUFFER = 1


def send_request(host: str, port: int) -> socket.socket:
    body = json.dumps(REQUEST | {"budget": 900, "budgets": list(range(15, 900, 15))})
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST_BUFFER)
    client.connect((host, port))
    client.sendall(
        f"POST /v1/anytime HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return client


async def test_a_client_that_does_not_read_holds_neither_engine_nor_connection(
    start_server: Callable[..., RealServer],
) -> None:
    server = start_server("--engine", "scripted", "--scripted.never-end", "true", "--client-stall-s", "1")
    host, port = server.address
    stuck = [send_request(host, port) for _ in range(3)]
    names = [client.getsockname() for client in stuck]
    async with server.client() as http:
        assert (await think(http, budget=5))["stop"]["thinking_tokens"] == 5
        await engine_is_idle(http)
        assert "anytime_sessions_running 0.0" in (await http.get("/metrics")).text

    def connected() -> set[tuple[str | int, ...]]:
        connections = psutil.Process(server.process.pid).net_connections("tcp")
        return {tuple(one.raddr) for one in connections if one.raddr and one.status == "ESTABLISHED"}

    async with asyncio.timeout(20):
        while connected() & set(names):
            await asyncio.sleep(0.05)
    for client in stuck:
        client.close()
    assert await asyncio.to_thread(server.stop) == 0
