"""A server that replays what was recorded, over real sockets."""

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
"""As what a reply waits for: its last piece is not sent."""
RECORDINGS = Path(__file__).parent.parent / "recordings"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is answered to a path."""

    status: int
    content_type: str
    pieces: tuple[bytes, ...]
    """Sent one by one."""
    breaks_off: bool
    """Close the connection instead of ending the body."""
    waits_for: str | None
    """Path that must be asked for before the last piece is sent."""
    headers: Mapping[str, str]


@dataclass
class ReplayServer:
    """Answers as it was told to; 404 for what it was told nothing of."""

    url: str = ""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    """One after the other for each path, the last one for good."""
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    """Path and body of every request so far; paths of other methods than POST begin with the method."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    """Of every request so far."""
    num_connections: int = 0
    """That have been made so far."""
    gone: list[str] = field(default_factory=list)
    """Paths of the responses that nobody read to the end."""
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def reply(
        self,
        path: str,
        *pieces: bytes,
        status: int = 200,
        content_type: str = "text/event-stream",
        breaks_off: bool = False,
        waits_for: str | None = None,
        headers: Mapping[str, str] | None = None,
        after: int = 0,
    ) -> None:
        """Say what to answer to a path, once so many replies to it have been given that stay as they are."""
        self.replies[path] = [
            *self.replies.get(path, [])[:after],
            Reply(
                status=status,
                content_type=content_type,
                pieces=pieces,
                breaks_off=breaks_off,
                waits_for=waits_for,
                headers=headers or {},
            ),
        ]

    def next_reply(self, path: str) -> Reply | None:
        with self.arrived:
            replies = self.replies.get(path, [])
            return replies.pop(0) if len(replies) > 1 else next(iter(replies), None)

    def see(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        with self.arrived:
            self.requests.append((path, body))
            self.headers.append(headers or {})
            self.arrived.notify_all()

    def miss(self, path: str) -> None:
        with self.arrived:
            self.gone.append(path)
            self.arrived.notify_all()

    def wait_for(self, path: str) -> None:
        """Until somebody has asked for it."""
        self._wait_until(lambda: any(p == path for p, _ in self.requests), f"nobody asked for {path}")

    def wait_until_gone(self, path: str) -> None:
        """Until the reader of a response has gone."""
        self._wait_until(lambda: path in self.gone, f"somebody still reads {path}")

    def _wait_until(self, condition: Callable[[], bool], otherwise: str) -> None:
        with self.arrived:
            assert self.arrived.wait_for(condition, timeout=60), otherwise


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to this machine go straight to it."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    replay = ReplayServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with replay.arrived:
                replay.num_connections += 1

        def do_POST(self) -> None:
            self.answer(self.path)

        def do_GET(self) -> None:
            self.answer(f"GET {self.path}")

        def do_DELETE(self) -> None:
            self.answer(f"DELETE {self.path}")

        def answer(self, path: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            replay.see(path, body, dict(self.headers))
            if (reply := replay.next_reply(path)) is None:
                self.send_error(404)
                return
            try:
                self.send(reply)
            except ConnectionError:
                replay.miss(path)
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
            for i, piece in enumerate(reply.pieces):
                if i == len(reply.pieces) - 1:
                    self.pause(reply.waits_for)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            if reply.breaks_off:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        def pause(self, waits_for: str | None) -> None:
            if waits_for == NEVER:
                if not self.connection.recv(1):  # nothing comes but the end of the connection
                    raise ConnectionResetError
            elif waits_for is not None:
                replay.wait_for(waits_for)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients may go away whenever they like; anything else is a fault of the test."""
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
    """A stream of a real server, and what a client should make of it."""

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
    """Each of them."""
    return Recording.load(request.param)


@pytest.fixture(scope="session")
def done() -> Recording:
    """A session that went well, keep-alive comments included."""
    return Recording.load("done")


@pytest.fixture(scope="session")
def cancelled() -> Recording:
    """One that somebody cancelled: it ended with an error."""
    return Recording.load("cancelled")


@pytest.fixture(scope="session")
def ladder() -> Recording:
    """One with provisional answers."""
    return Recording.load("ladder")


@pytest.fixture(params=["sync", *LOOPS])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of either kind, used alike."""
    with connecting(request.param) as connect:
        yield connect


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Runs coroutines on each kind of event loop."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
