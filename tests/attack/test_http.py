"""Requests that are malformed, ambiguous or endless."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import httpx2
import psutil
import pytest

from ..servers import RealServer, start
from .matrix import attack
from .raw import HEALTH, connect, exchange, is_healthy, post, read_response

KEY = "any-attack"
AUTHORIZED = f"X-Api-Key: {KEY}"
LAST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

JAVA = """
import java.net.URI;
import java.net.http.*;

class Post {
    public static void main(String[] url) throws Exception {
        var body = HttpRequest.BodyPublishers.ofString(url[2]);
        var request = HttpRequest.newBuilder(URI.create(url[0])).header("Content-Type", "application/json")
            .header("X-Api-Key", url[1]).POST(body).build();
        var text = HttpResponse.BodyHandlers.ofString();
        System.out.print(HttpClient.newHttpClient().send(request, text).statusCode());
    }
}
"""


@pytest.fixture(scope="module")
def server() -> Generator[RealServer, None, None]:
    server = start(["--engine", "scripted", "--keys", f"a:{hashlib.sha256(KEY.encode()).hexdigest()}"])
    yield server
    assert server.stop() == 0


def rss_mb(server: RealServer) -> float:
    return psutil.Process(server.process.pid).memory_info().rss / 1e6


async def pipeline_while_reading(url: str, *, for_s: float) -> int:
    """Send requests without waiting for responses, which are read and dropped; returns the bytes sent."""
    reader, writer = await connect(url)
    num_sent = 0

    async def drop_responses() -> None:
        while await reader.read(1 << 16):
            pass

    dropping = asyncio.create_task(drop_responses())
    try:
        async with asyncio.timeout(for_s):
            while True:
                writer.write(b"GET / HTTP/1.1\r\n\r\n" * 1000)
                await writer.drain()
                num_sent += 18_000
    except TimeoutError:
        pass
    dropping.cancel()
    writer.transport.abort()
    return num_sent


@attack(
    done="`GET /` sent without end on one connection, while the responses are read",
    client="responses one after the other; the server reads a request when it has answered the one before",
    left="memory as before, within 30 MB",
)
@pytest.mark.parametrize("for_s", [3, pytest.param(30, marks=pytest.mark.nightly)])
async def test_pipelined_requests_wait_in_the_socket(server: RealServer, for_s: float) -> None:
    await pipeline_while_reading(server.url, for_s=0.5)
    before_mb = rss_mb(server)
    await pipeline_while_reading(server.url, for_s=for_s)
    assert await is_healthy(server.url)
    assert rss_mb(server) < before_mb + 30


@attack(
    done="`Upgrade` to any protocol, with a body that looks like a request",
    client="the response to its one request: the upgrade is ignored, and the body is a body",
    left="a connection that serves the next request",
)
@pytest.mark.parametrize("protocol", ["foo", "h2c", "websocket"])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_after_upgrade_is_no_request(
    server: RealServer, protocol: str, is_chunked: bool
) -> None:
    upgrade = ("Connection: Upgrade", f"Upgrade: {protocol}", AUTHORIZED)
    request = post(SMUGGLED, *upgrade)
    if is_chunked:
        head = request.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
        request = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    received = await exchange(server.url, request, post(None, *upgrade), LAST)
    assert received.count(b"HTTP/1.1 ") == 3
    assert received.startswith(b"HTTP/1.1 422 ")
    assert b'"thinking_tokens":5' in received
    assert b"anytime_ready" not in received


def test_curl_with_http2_gets_its_answer(server: RealServer) -> None:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    body = post().rpartition(b"\r\n")[2].decode()
    command = [curl, "-s", "--http2", "-H", AUTHORIZED, "-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run([*command, f"{server.url}/v1/anytime"], capture_output=True, check=True, timeout=30)
    assert b'"thinking_tokens":5' in done.stdout


def test_java_gets_its_answer(server: RealServer, tmp_path: Path) -> None:
    if (java := shutil.which("java")) is None:
        pytest.skip("Java is not installed")
    source = tmp_path / "Post.java"
    source.write_text(JAVA)
    body = post().rpartition(b"\r\n")[2].decode()
    done = subprocess.run(
        [java, str(source), f"{server.url}/v1/anytime", KEY, body],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "error: " in done.stderr:
        pytest.skip("Java has no compiler")
    assert (done.stdout, done.stderr) == ("200", "")


@attack(
    done="heads that proxies and servers read differently: obsolete folding, bare line feeds, a space before "
    "the colon, control characters, two lengths, a length and chunks, other transfer encodings, HTTP/2, "
    "HTTP/0.9, `CONNECT`",
    client="one 400, 501 or 505 in plain text, and the end of the connection",
    left="nothing: what follows is not read as a request",
)
@pytest.mark.parametrize(
    ("status", "head"),
    [
        (400, b"POST /v1/anytime HTTP/1.1\r\nX-A: b\r\n c\r\n\r\n"),
        (400, b"GET /health HTTP/1.1\n\n"),
        (400, b"GET /health HTTP/1.1\r\nX-A: b\nX-B: c\r\n\r\n"),
        (400, b"POST /v1/anytime HTTP/1.1\r\nContent-Length : 3\r\n\r\n"),
        (400, b"GET /health HTTP/1.1\r\nX-A: \x01\r\n\r\n"),
        (400, b"GET /health HTTP/1.1\r\nX-A: \x00\r\n\r\n"),
        (400, b"GET /\xff HTTP/1.1\r\n\r\n"),
        (400, b"POST /v1/anytime HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 40\r\n\r\n"),
        (400, b"POST /v1/anytime HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n"),
        (400, b"POST /v1/anytime HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        (400, b"POST /v1/anytime HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, b"POST /v1/anytime HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"),
        (400, b"POST /v1/anytime HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
        (501, b"POST /v1/anytime HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        (501, b"POST /v1/anytime HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (501, b"POST /v1/anytime HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        (501, b"POST /v1/anytime HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (501, b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"),
        (505, b"GET /health HTTP/2.0\r\n\r\n"),
        (505, b"GET /health\r\n\r\n"),
        (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ],
)
async def test_an_ambiguous_head_ends_the_connection(server: RealServer, status: int, head: bytes) -> None:
    received = await exchange(server.url, HEALTH, head + b"2\r\n{}\r\n0\r\n\r\n" + SMUGGLED)
    assert received.count(b"HTTP/1.1 ") == 2
    assert f"HTTP/1.1 {status} ".encode() in received
    assert b"connection: close" in received
    assert await is_healthy(server.url)


@attack(
    done="chunks of a wrong size, with endless extensions, or with endless trailers",
    client="a 400 or 431, and the end of the connection",
    left="a server that answers others",
)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"1\r\naX\r\n0\r\n\r\n"),
        (400, b"z\r\n"),
        (400, b"fffffffffffffffff\r\n"),
        (431, b"1;" + b"a" * (1 << 20)),
        (431, b"2\r\n{}\r\n0\r\nx: " + b"a" * (1 << 20)),
    ],
)
async def test_broken_chunks_end_the_connection(server: RealServer, status: int, body: bytes) -> None:
    head = f"POST /v1/anytime HTTP/1.1\r\n{AUTHORIZED}\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = await exchange(server.url, head.encode() + body)
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert await is_healthy(server.url)


@attack(
    done="a body of 200,000 chunks of one byte each",
    client="the response to the body",
    left="other clients are served within two seconds meanwhile",
)
async def test_chunks_of_one_byte(server: RealServer) -> None:
    head = f"POST /v1/anytime HTTP/1.1\r\n{AUTHORIZED}\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await connect(server.url)
    writer.write(head.encode() + b"1\r\n \r\n" * 200_000)
    assert await is_healthy(server.url)
    writer.write(b"0\r\n\r\n")
    status, _ = await read_response(reader)
    writer.close()
    assert status == 422


@attack(
    done="10,000 headers, a header of 1 MB, a path of 100 kB or without end",
    client="431 or 414, and the end of the connection",
    left="nothing",
)
@pytest.mark.parametrize(
    ("status", "head"),
    [
        (431, b"GET /health HTTP/1.1\r\n" + b"a:\r\n" * 10_000 + b"\r\n"),
        (431, b"GET /health HTTP/1.1\r\na: " + b"a" * 1_000_000 + b"\r\n\r\n"),
        (414, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"),
        (431, b"GET /" + b"a" * 1_000_000),
    ],
)
async def test_a_large_head_is_refused(server: RealServer, status: int, head: bytes) -> None:
    received = await exchange(server.url, head)
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.startswith(f"HTTP/1.1 {status} ".encode())


@attack(
    done="`Content-Length: 1000000000000`, with and without `Expect: 100-continue`, before any of the body",
    client="413 at once, in the dialect's form, and no `100 Continue`",
    left="nothing: the body is not awaited",
)
@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/v1/anytime", b'"code":"body_too_large"'),
        ("/v1/chat/completions", b'"type":"invalid_request_error"'),
        ("/v1/messages", b'"type":"request_too_large"'),
    ],
)
async def test_a_body_that_is_announced_too_large(
    server: RealServer, path: str, form: bytes, expect: tuple[str, ...]
) -> None:
    request = post(b"", AUTHORIZED, *expect, path=path).replace(b"Length: 0", b"Length: 1000000000000")
    reader, writer = await connect(server.url)
    writer.write(request)
    status, body = await read_response(reader)
    writer.close()
    assert status == 413
    assert form in body


@attack(
    done="a body of 40 MB after a refusal by size",
    client="the refusal, then the end of the connection before the body has ended",
    left="no more than 32 MB read and discarded",
)
async def test_the_body_of_a_refused_request_is_not_read_without_end(server: RealServer) -> None:
    reader, writer = await connect(server.url)
    writer.write(post(b"").replace(b"Length: 0", b"Length: 40000000"))
    status, _ = await read_response(reader)
    assert status == 413
    num_sent = 0
    with suppress(ConnectionError):
        while num_sent < 40_000_000:
            writer.write(b"a" * 100_000)
            await writer.drain()
            num_sent += 100_000
            await asyncio.sleep(0.001)
    writer.close()
    assert 30_000_000 < num_sent < 40_000_000


@attack(
    done="HTTP/1.0, for one body and for a stream",
    client="a plain body, ended by the end of the connection",
    left="nothing",
)
@pytest.mark.parametrize("streams", [False, True])
async def test_http_1_0_gets_no_chunks(server: RealServer, streams: bool) -> None:
    request = post(None, AUTHORIZED, version="1.0")
    if streams:
        request = request.replace(b"false", b"true ")
    head, _, body = (await exchange(server.url, request)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body.startswith(b"event: started" if streams else b'{"id"')
    assert body.endswith(b"\n\n" if streams else b"}")
    assert body.count(b"event: done") == streams


@attack(
    done="part of a second request, or garbage, while a stream runs",
    client="the whole stream with its terminal event; then the fault of the second request",
    left="nothing",
)
@pytest.mark.parametrize("second", [b"GET /hea", b"\x16\x03\x01 garbage\r\n\r\n", SMUGGLED * 1000])
async def test_more_data_does_not_break_a_running_stream(server: RealServer, second: bytes) -> None:
    reader, writer = await connect(server.url)
    writer.write(post(None, AUTHORIZED).replace(b"false", b"true "))
    await reader.readuntil(b"event: started")
    writer.write(second)
    async with asyncio.timeout(20):
        stream = await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    assert stream.count(b"event: done") == 1
    assert await is_healthy(server.url)


@attack(
    done="an `X-Request-Id` with line breaks, control characters or 8-bit characters",
    client="another id, or a 400; no header of its own making",
    left="nothing",
)
@pytest.mark.parametrize(
    "value", [b"a\r\n\tb: c", b"a\rb: c", b"a\x85b", "a\u560a\u560d b".encode(), b"\xff"]
)
async def test_a_request_id_cannot_split_the_response(server: RealServer, value: bytes) -> None:
    request = LAST.replace(b"Host: x", b"Host: x\r\nX-Request-Id: " + value)
    received = await exchange(server.url, request)
    assert received.count(b"HTTP/1.1 ") == 1
    assert value not in received
    assert received.startswith(b"HTTP/1.1 400 ") or b"x-request-id: req_" in received


@attack(
    done="a protected path in another spelling, without a key",
    client="401, or 404 where no endpoint has that path",
    left="nothing",
)
@pytest.mark.parametrize(
    "target",
    [
        b"/v1%2fanytime",
        b"/v1/%61nytime",
        b"/%76%31/anytime",
        b"//v1/anytime",
        b"/./v1/anytime",
        b"/health/../v1/anytime",
        b"/health/..%2fv1/anytime",
        b"/V1/anytime",
        b"/v1/anytime/",
        b"/v1/anytime%00",
        b"/v1/anytime;a",
        b"/v1\\anytime",
        b"/v1/anytime?a#b",
        b"http://x/v1/anytime",
        b"http://x//v1/anytime",
        b"HTTP://u@x:80/v1/anytime",
        b"*",
        b"v1/anytime",
    ],
)
async def test_no_spelling_of_a_path_needs_no_key(server: RealServer, target: bytes) -> None:
    request = post(None, "Connection: close").replace(b"/v1/anytime", target, 1)
    received = await exchange(server.url, request)
    assert received.split()[1] in (b"400", b"401", b"404")
    assert b"thinking_tokens" not in received


@attack(
    done="`HEAD`, `OPTIONS`, `TRACE` and an unknown method on every path",
    client="a 2xx or 4xx without a stack trace or an echo",
    left="nothing",
)
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PROPFIND"])
async def test_other_methods_on_every_path(server: RealServer, method: str) -> None:
    async with server.client() as http:
        for path in (await http.get("/openapi.json")).json()["paths"]:
            headers = {"X-Api-Key": KEY, "X-Echo": "secret"}
            response = await http.request(method, path, headers=headers)
            assert response.status_code < 500, path
            assert b"secret" not in response.content, path
    assert httpx2.get(f"{server.url}/health").status_code == 200
