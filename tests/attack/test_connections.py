"""Connections that are slow, idle or many."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import httpx2
import psutil
import pytest

from ..servers import RealServer, start
from .matrix import attack
from .raw import HEALTH, connect, is_healthy, post, read_response

KEY = "any-attack"
AUTHORIZED = f"X-Api-Key: {KEY}"
MAX_CONNECTIONS = 30
MAX_PER_ADDRESS = 20
LIMIT_S = 0.5
"""Of the head, of the body without progress, and of an idle connection."""
MAX_HELD_S = 10
"""Generous, for machines under load; without limits, these connections stay open for ever."""


@pytest.fixture(scope="module")
def server() -> Generator[RealServer, None, None]:
    options = {
        "--engine": "scripted",
        "--keys": f"a:{hashlib.sha256(KEY.encode()).hexdigest()}",
        "--receive-timeout-s": str(LIMIT_S),
        "--keep-alive-s": str(LIMIT_S),
        "--max-connections": str(MAX_CONNECTIONS),
        "--max-connections-per-address": str(MAX_PER_ADDRESS),
    }
    server = start(["--open-metrics", *(part for option in options.items() for part in option)])
    yield server
    assert server.stop() == 0


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send the piece every tenth of a second, for ever."""
    while True:
        writer.write(piece)
        await asyncio.sleep(0.1)


async def metric(url: str, series: str) -> float:
    """A value from /metrics."""
    reader, writer = await connect(url)
    writer.write(HEALTH.replace(b"/health", b"/metrics"))
    _, body = await read_response(reader)
    writer.close()
    lines = (line.rpartition(" ") for line in body.decode().splitlines())
    return next(float(value) for name, _, value in lines if name == series)


@attack(
    done="a byte every 0.1 s, for ever: of a head, of a body that was refused or accepted, between requests",
    client="the end of the connection after `--receive-timeout-s`, or `--keep-alive-s` between requests; a "
    "408 if a body was awaited",
    left="a count of the time-outs of bodies",
)
@pytest.mark.parametrize(
    ("first", "piece", "statuses"),
    [
        (b"", b"", []),
        (b"GET /health HTTP/1.1\r\nX-A: ", b"a", []),
        (HEALTH, b"\r\n", [200]),
        (HEALTH + b"GET /hea", b"l", [200]),
        (HEALTH.replace(b"Host: x", b"Content-Length: 1000"), b"a", [200]),
        (post(b"").replace(b"Length: 0", b"Length: 1000"), b"a", [401]),
        (post(b"", AUTHORIZED, path="/v1/x").replace(b"Length: 0", b"Length: 1000"), b"a", [404]),
        (post(b"", AUTHORIZED).replace(b"Length: 0", b"Length: 1000"), b"a", [408]),
        (post(b"", AUTHORIZED).replace(b"Length: 0", b"Length: 1000"), b"", [408]),
    ],
)
async def test_no_connection_is_held_by_a_drip(
    server: RealServer, first: bytes, piece: bytes, statuses: list[int]
) -> None:
    reader, writer = await connect(server.url)
    writer.write(first)
    dripping = asyncio.create_task(drip(writer, piece))
    try:
        for status in statuses:
            assert (await read_response(reader))[0] == status
        async with asyncio.timeout(MAX_HELD_S):
            with suppress(ConnectionError):
                assert await reader.read() == b""
    finally:
        dripping.cancel()
        writer.transport.abort()
    if 408 in statuses:
        assert await metric(server.url, 'anytime_receive_timeouts_total{part="body"}') > 0


async def test_a_slow_upload_that_makes_progress_is_not_cut_off(server: RealServer) -> None:
    reader, writer = await connect(server.url)
    writer.write(post(b"", AUTHORIZED).replace(b"Length: 0", b"Length: 12000"))
    for _ in range(12):
        writer.write(b" " * 1000)
        await asyncio.sleep(LIMIT_S / 4)
    assert (await read_response(reader))[0] == 422
    writer.close()


@attack(
    done="more connections than `--max-connections-per-address` from one address, and than "
    "`--max-connections` from all",
    client="503 and the end of the connection, for those over the limit; other addresses are served until "
    "all connections are taken",
    left="a count for each limit, and no connection",
)
async def test_connections_over_the_limit_get_503(server: RealServer) -> None:
    host, port = server.address
    open_ones: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def status(address: str) -> int:
        """Of /health on a new connection, which is kept with a body that makes progress."""
        reader, writer = await asyncio.open_connection(host, port, local_addr=(address, 0))
        open_ones.append((reader, writer))
        head = HEALTH.replace(b"Host: x", b"Host: x\r\nContent-Length: 100000")
        writer.write(head + b"a" * 20_000)
        return (await read_response(reader))[0]

    first = [await status("127.0.0.1") for _ in range(MAX_PER_ADDRESS + 3)]
    second = [await status("127.0.0.2") for _ in range(MAX_PER_ADDRESS)]
    assert first == [200] * MAX_PER_ADDRESS + [503] * 3
    assert second == [200] * 10 + [503] * 10
    for _, writer in open_ones:
        writer.transport.abort()
    async with asyncio.timeout(MAX_HELD_S):
        while not await is_healthy(server.url):
            await asyncio.sleep(0.05)
    assert await metric(server.url, 'anytime_connections_refused_total{limit="address"}') == 3
    assert await metric(server.url, 'anytime_connections_refused_total{limit="total"}') >= 10
    assert await metric(server.url, "anytime_connections") == 1


def test_the_limit_of_open_files_is_raised(server: RealServer) -> None:
    soft, hard = psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard


@attack(
    done="HTTPS connections that never begin the handshake, more than `--max-connections`",
    client="the end of the connection, at once over the limit and after `--receive-timeout-s` under it",
    left="counts of both, and no connection",
)
async def test_connections_without_a_tls_handshake_are_limited(
    start_server: Callable[..., RealServer], tmp_path: Path
) -> None:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*make, "-out", cert, "-keyout", key], check=True, capture_output=True)  # noqa: ASYNC221
    limits = ("--max-connections", "5", "--receive-timeout-s", "1")
    server = start_server("--engine", "scripted", "--tls-cert", cert, "--tls-key", key, *limits)
    host, port = server.address
    silent = [await asyncio.open_connection(host, port) for _ in range(8)]

    async def held_s(reader: asyncio.StreamReader) -> float:
        began_at = time.monotonic()
        with suppress(ConnectionError):
            assert await reader.read() == b""
        return time.monotonic() - began_at

    async with asyncio.timeout(MAX_HELD_S):
        times = await asyncio.gather(*(held_s(reader) for reader, _ in silent))
    assert sum(seconds > 0.5 for seconds in times) == 5
    for _, writer in silent:
        writer.close()
    async with httpx2.AsyncClient(base_url=server.url, verify=ssl._create_unverified_context()) as client:
        text = (await client.get("/metrics")).text
    assert 'anytime_connections_refused_total{limit="total"} 3.0' in text
    assert 'anytime_receive_timeouts_total{part="handshake"} 5.0' in text
    assert "anytime_connections 1.0" in text
