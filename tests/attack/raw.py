"""Bytes on sockets, for requests that no HTTP client would send."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

REQUEST: dict[str, Any] = {"messages": [{"role": "user", "content": "7-3"}], "budget": 5, "stream": False}
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
WAIT_S = 20.0


def post(body: bytes | None = None, *headers: str, path: str = "/v1/anytime", version: str = "1.1") -> bytes:
    """A POST of JSON with its length."""
    body = json.dumps(REQUEST).encode() if body is None else body
    lines = [f"POST {path} HTTP/{version}", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(url)
    return await asyncio.open_connection(address.hostname, address.port)


async def exchange(url: str, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send the parts over one connection, then read until the server closes it."""
    reader, writer = await connect(url)
    async with asyncio.timeout(WAIT_S):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        received = await reader.read()
    writer.close()
    return received


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of a response with a `Content-Length`."""
    async with asyncio.timeout(WAIT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)


async def is_healthy(url: str) -> bool:
    """Whether /health answers within two seconds on a new connection."""
    reader, writer = await connect(url)
    async with asyncio.timeout(2):
        writer.write(HEALTH)
        status, _ = await read_response(reader)
    writer.close()
    return status == 200
