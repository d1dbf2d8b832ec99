"""A server that replays what was recorded, over real sockets."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

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


@dataclass
class ReplayServer:
    """Answers as it was told to; 404 for what it was told nothing of."""

    url: str = ""
    replies: dict[str, Reply] = field(default_factory=dict)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    """Path and body of every request so far."""
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def reply(
        self,
        path: str,
        *pieces: bytes,
        status: int = 200,
        content_type: str = "text/event-stream",
        breaks_off: bool = False,
        waits_for: str | None = None,
    ) -> None:
        self.replies[path] = Reply(
            status=status,
            content_type=content_type,
            pieces=pieces,
            breaks_off=breaks_off,
            waits_for=waits_for,
        )

    def see(self, path: str, body: bytes) -> None:
        with self.arrived:
            self.requests.append((path, body))
            self.arrived.notify_all()

    def wait_for(self, path: str) -> None:
        with self.arrived:
            seen = self.arrived.wait_for(lambda: any(p == path for p, _ in self.requests), timeout=60)
        assert seen, f"nobody asked for {path}"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to this machine go straight to it."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    replay = ReplayServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            replay.see(self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            reply = replay.replies.get(self.path)
            if reply is None:
                self.send_error(404)
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i, piece in enumerate(reply.pieces):
                if reply.waits_for is not None and i == len(reply.pieces) - 1:
                    replay.wait_for(reply.waits_for)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            if reply.breaks_off:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

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


@pytest.fixture(scope="session")
def recording_done() -> bytes:
    """A session of the server that went well, keep-alive comments included."""
    return (RECORDINGS / "done.sse").read_bytes()


@pytest.fixture(scope="session")
def recording_cancelled() -> bytes:
    """One that somebody cancelled: it ended with an error."""
    return (RECORDINGS / "cancelled.sse").read_bytes()
