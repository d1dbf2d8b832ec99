"""Limits of headers and conversations. Bodies are in `test_bad_input.py`."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..conftest import QUESTION

MESSAGE = {"role": "user", "content": "7"}


async def exchange(url: str, *parts: bytes) -> bytes:
    """Send the parts over a connection, then read until it is closed."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    received = await reader.read()
    writer.close()
    return received


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/anytime", b'"code":"headers_too_large"'),
        ("/v1/chat/completions", b'"type":"invalid_request_error"'),
        ("/v1/messages", b'"type":"error"'),
    ],
)
async def test_headers_over_the_limit_get_431_in_the_dialect(served: Any, path: str, kind: bytes) -> None:
    server = await served()
    head = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-a: ".encode()
    received = await exchange(server.url, head, b"a" * 70_000, b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 431 ")
    assert kind in received
    assert b"x-request-id: req_" in received
    assert b"over the limit of 65536 bytes" in received


async def test_many_small_headers_add_up(served: Any) -> None:
    server = await served(app={"max_header_bytes": 1024})
    few = {f"x-{number}": "a" * 10 for number in range(20)}
    many = {f"x-{number}": "a" * 10 for number in range(100)}
    assert (await server.http.get("/health", headers=few)).status_code == 200
    assert (await server.http.get("/health", headers=many)).status_code == 431


async def test_a_long_path_counts_as_headers(served: Any) -> None:
    server = await served(app={"max_header_bytes": 1024})
    received = await exchange(server.url, b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 431 ")


async def test_endless_trailers_are_not_kept_and_get_431(served: Any) -> None:
    server = await served()
    head = b"POST /v1/anytime HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-a: "
    received = await exchange(server.url, head, *[b"a" * (1 << 20)] * 8)
    assert received.startswith(b"HTTP/1.1 431 ")
    assert (await server.http.get("/health")).status_code == 200


async def test_a_missing_or_incomplete_head_disconnects(served: Any) -> None:
    server = await served(connections={"receive_timeout_s": 0.05})
    assert await exchange(server.url) == b""
    assert await exchange(server.url, b"GET /health HT") == b""
    assert (await server.http.get("/health")).status_code == 200


async def test_a_body_that_takes_too_long_is_logged_with_its_status(
    served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="anytime.access")
    server = await served(connections={"receive_timeout_s": 0.05})
    head = b"POST /v1/anytime HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
    assert (await exchange(server.url, head)).startswith(b"HTTP/1.1 408 ")
    [ended] = [record for record in caplog.records if record.message == "request ended"]
    assert (ended.status, ended.code) == (408, None)  # pyright: ignore[reportAttributeAccessIssue]
    assert 'status="408"' in (await server.http.get("/metrics")).text


async def test_deep_nesting_without_a_json_content_type(served: Any) -> None:
    server = await served()
    response = await server.http.post(
        "/v1/anytime", content="[" * 100_000, headers={"Content-Type": "text/plain"}
    )
    assert response.status_code == 422


async def test_endless_headers_get_431_and_disconnect(served: Any) -> None:
    server = await served()
    received = await exchange(server.url, b"GET / HTTP/1.1\r\nx-a: ", *[b"a" * (1 << 20)] * 8)
    assert received.startswith(b"HTTP/1.1 431 ")
    assert received.endswith(b"the headers are over 131072 bytes")
    assert (await server.http.get("/health")).status_code == 200


@pytest.mark.parametrize(
    ("path", "field", "status"),
    [
        ("/v1/anytime", "messages", 422),
        ("/v1/chat/completions", "messages", 400),
        ("/v1/messages", "messages", 400),
        ("/v1/messages/count_tokens", "messages", 400),
        ("/v1/responses", "input", 400),
    ],
)
async def test_too_many_messages_are_refused(served: Any, path: str, field: str, status: int) -> None:
    server = await served(app={"max_messages": 3})
    more = {} if path == "/v1/anytime" else {"model": "tiny"}
    more |= {"max_tokens": 20} if path == "/v1/messages" else {}
    right = await server.http.post(path, json={field: [MESSAGE] * 3, **more})
    assert right.status_code == 200, right.text
    wrong = await server.http.post(path, json={field: [MESSAGE] * 4, **more})
    assert (wrong.status_code, wrong.json()["error"]["message"]) == (
        status,
        f"{field}: 4 messages are over the limit of 3",
    )


async def test_the_default_limit_of_messages(served: Any) -> None:
    server = await served()
    response = await server.http.post("/v1/anytime", json=QUESTION | {"messages": [MESSAGE] * 1025})
    assert response.json()["error"]["message"] == "messages: 1025 messages are over the limit of 1024"
