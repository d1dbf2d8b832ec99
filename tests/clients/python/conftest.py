"""A server that replays recorded streams over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .blocking import LOOPS, Connect, connecting

NEVER = "never"
"""As `waits_for` of a reply: its last chunk is never sent."""
RECORDINGS = Path(__file__).parent.parent / "recordings"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The response to a request."""

    status: int
    content_type: str
    chunks: tuple[bytes, ...]
    """The body, sent chunk by chunk."""
    disconnects: bool
    """Close the connection instead of ending the body."""
    waits_for: str | None
    """Path of the request that must arrive before the last chunk is sent."""
    headers: Mapping[str, str]


@dataclass
class ReplayServer:
    """Sends the replies it was given; 404 for other paths."""

    url: str = ""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    """The replies to each path, in turn; the last one is repeated."""
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    """Path and body of every request so far; the path is preceded by the method unless it is POST."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    """Headers of every request so far."""
    num_connections: int = 0
    """Connections accepted so far."""
    disconnected: list[str] = field(default_factory=list)
    """Paths of the responses whose client disconnected before their end."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def reply(
        self,
        path: str,
        *chunks: bytes,
        status: int = 200,
        content_type: str = "text/event-stream",
        disconnects: bool = False,
        waits_for: str | None = None,
        headers: Mapping[str, str] | None = None,
        after: int = 0,
    ) -> None:
        """Set the replies to a path: keep the first `after` of the current ones, and append this one."""
        self.replies[path] = [
            *self.replies.get(path, [])[:after],
            Reply(
                status=status,
                content_type=content_type,
                chunks=chunks,
                disconnects=disconnects,
                waits_for=waits_for,
                headers=headers or {},
            ),
        ]

    def next_reply(self, path: str) -> Reply | None:
        with self.changed:
            replies = self.replies.get(path, [])
            return replies.pop(0) if len(replies) > 1 else next(iter(replies), None)

    def record_request(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        with self.changed:
            self.requests.append((path, body))
            self.headers.append(headers or {})
            self.changed.notify_all()

    def record_disconnect(self, path: str) -> None:
        with self.changed:
            self.disconnected.append(path)
            self.changed.notify_all()

    def wait_for_request(self, path: str) -> None:
        """Wait until the path has been requested."""
        self.wait_until(lambda: any(p == path for p, _ in self.requests), f"no request for {path}")

    def wait_for_disconnect(self, path: str) -> None:
        """Wait until the client of a response has disconnected."""
        self.wait_until(lambda: path in self.disconnected, f"no disconnect from {path}")

    def wait_until(self, condition: Callable[[], bool], message: str) -> None:
        """Wait until the condition is true; fail with the message after a minute."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout=60), message


@pytest.fixture(autouse=True)
def quick_clients(no_certificates: None) -> None:
    """All clients of these tests."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to the test server directly, without a proxy."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    replay = ReplayServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with replay.changed:
                replay.num_connections += 1

        def do_POST(self) -> None:
            self.answer(self.path)

        def do_GET(self) -> None:
            self.answer(f"GET {self.path}")

        def do_DELETE(self) -> None:
            self.answer(f"DELETE {self.path}")

        def answer(self, path: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            replay.record_request(path, body, dict(self.headers))
            if (reply := replay.next_reply(path)) is None:
                self.send_error(404)
                return
            try:
                self.send(reply)
            except ConnectionError:
                replay.record_disconnect(path)
                raise

        def send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in ({"Content-Type": reply.content_type} | dict(reply.headers)).items():
                self.send_header(name, value)
            if reply.status == 204:
                self.end_headers()
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i, chunk in enumerate(reply.chunks):
                if i == len(reply.chunks) - 1:
                    self.wait_before_last_chunk(reply.waits_for)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            if reply.disconnects:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        def wait_before_last_chunk(self, waits_for: str | None) -> None:
            if waits_for == NEVER:
                if not self.connection.recv(1):  # the client sends nothing more, so this is its disconnect
                    raise ConnectionResetError
            elif waits_for is not None:
                replay.wait_for_request(waits_for)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Ignore disconnects of clients; report any other error."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    with Listener(("127.0.0.1", 0), Handler) as listener:
        replay.url = f"http://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield replay
        listener.shutdown()
        thread.join()


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The stream of a real server, and what a client should parse from it."""

    wire: bytes
    events: list[dict[str, Any]]
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def id(self) -> str:
        return self.events[0]["id"]

    @classmethod
    def load(cls, name: str) -> Recording:
        expected = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
        return cls(wire=(RECORDINGS / f"{name}.sse").read_bytes(), **expected)


@pytest.fixture(params=sorted(path.stem for path in RECORDINGS.glob("*.sse")))
def recording(request: pytest.FixtureRequest) -> Recording:
    """Each recording."""
    return Recording.load(request.param)


@pytest.fixture(scope="session")
def done() -> Recording:
    """A successful session, with keep-alive comments."""
    return Recording.load("done")


@pytest.fixture(scope="session")
def cancelled() -> Recording:
    """A session cancelled by another client: it ended with an error."""
    return Recording.load("cancelled")


@pytest.fixture(scope="session")
def early_answers() -> Recording:
    """A session with early answers."""
    return Recording.load("early-answers")


@pytest.fixture(params=["sync", *LOOPS])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Creates sync or async clients, with the same blocking interface."""
    with connecting(request.param) as connect:
        yield connect


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Runs coroutines on each event loop implementation."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner


@pytest.fixture
def unreachable_url() -> Iterator[str]:
    """An address that no server listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
