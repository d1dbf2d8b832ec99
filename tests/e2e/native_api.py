"""Requests to the native API of a running server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2

REQUEST: dict[str, Any] = {
    "messages": [{"role": "user", "content": "7-3"}],
    "answer": {"max_tokens": 12},  # the random model does not end its answers
}


async def think(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The response to a request without streaming."""
    response = await client.post("/v1/anytime", json=REQUEST | fields | {"stream": False})
    assert response.status_code == 200, response.text
    return response.json()


async def lines_of(response: httpx2.Response) -> AsyncGenerator[str, None]:
    """The lines of a stream; those of httpx2 also end at U+0085 and U+2028, which a random model writes."""
    rest = b""
    async for data in response.aiter_bytes():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode()


async def stream(
    client: httpx2.AsyncClient, *, opened: asyncio.Semaphore | None = None, **fields: Any
) -> list[dict[str, Any]]:
    """All events of a stream. `opened` is released when the response starts."""
    async with client.stream("POST", "/v1/anytime", json=REQUEST | fields) as response:
        assert response.status_code == 200, await response.aread()
        if opened is not None:
            opened.release()
        lines = [line async for line in lines_of(response)]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


async def open_streams(
    client: httpx2.AsyncClient, requests: list[dict[str, Any]]
) -> list[asyncio.Task[list[dict[str, Any]]]]:
    """Open streams, and wait until each response has started."""
    opened = asyncio.Semaphore(0)
    streams = [asyncio.create_task(stream(client, opened=opened, **fields)) for fields in requests]
    async with asyncio.timeout(30):
        for _ in streams:
            await opened.acquire()
    return streams


async def begin_request(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the headers and the first byte of a body, without the rest."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST /v1/anytime HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 1000\r\n\r\n{")
    await writer.drain()
    return reader, writer


async def engine_is_idle(client: httpx2.AsyncClient) -> None:
    """Wait until the engine runs no request."""
    async with asyncio.timeout(5):
        while "anytime_engine_requests 0.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.05)
