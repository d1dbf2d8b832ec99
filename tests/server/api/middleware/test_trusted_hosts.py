"""A server without keys that serves its own machine refuses requests for other hosts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ..conftest import QUESTION


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:8000", 200),
        ("app.localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("127.8.9.1", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("localhost.:8000", 200),
        ("[::ffff:127.0.0.1]:8000", 200),
        ("", 403),
        ("[::1]page.example", 403),
        ("[::1", 403),
        ("page.example/.localhost", 403),
        ("a b.localhost", 403),
        ("..localhost", 403),
        ("localhost:abc", 403),
        ("127.0.0.1:8000:8000", 403),
        ("127.0.0.256", 403),
        ("page.example", 403),
        ("page.example:8000", 403),
        ("localhost.page.example:8000", 403),
        ("127.0.0.1.page.example", 403),
        ("192.0.2.1:8000", 403),
        ("[2001:db8::1]:8000", 403),
        ("::1", 403),
    ],
)
async def test_only_local_hosts_are_served(served: Any, host: str, status: int) -> None:
    server = await served(app={"trusted_hosts_only": True})
    for path in ("/health", "/v1/models"):
        response = await server.http.get(path, headers={"Host": host})
        assert response.status_code == status, response.text


async def test_every_host_header_must_be_local(served: Any) -> None:
    server = await served(app={"trusted_hosts_only": True})
    for hosts in (("localhost", "page.example"), ("page.example", "localhost")):
        reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        lines = ["GET /v1/models HTTP/1.1", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 403 ")
        writer.close()
        await writer.wait_closed()


async def test_each_dialect_refuses_and_opens_no_session(served: Any) -> None:
    server = await served(app={"trusted_hosts_only": True})
    for path, name in [
        ("/v1/anytime", "code"),
        ("/v1/chat/completions", "code"),
        ("/v1/messages", "type"),
    ]:
        response = await server.http.post(path, json=QUESTION, headers={"Host": "page.example"})
        error = response.json()["error"]
        assert (response.status_code, error[name]) == (
            403,
            "permission_error" if name == "type" else "permission_denied",
        )
        assert "'page.example'" in error["message"]
        assert "--allow-anonymous" in error["message"]
    assert not len(server.scheduler.active)


async def test_a_server_for_other_machines_accepts_any_host(served: Any) -> None:
    server = await served()
    assert (await server.http.get("/v1/models", headers={"Host": "page.example"})).status_code == 200
