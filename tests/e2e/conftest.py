"""Real servers: `anytime serve` in a process of its own, on vLLM."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

ANYTIME = Path(sys.executable).with_name("anytime")
START_S, STOP_S = 180, 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """A running `anytime serve`."""

    url: str
    process: subprocess.Popen[str]

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=120, limits=httpx2.Limits(max_connections=256))

    def engine_processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=STOP_S)
        return self.process.returncode


def start(arguments: Sequence[str], *, own_group: bool = False) -> RealServer:
    """Start a server, perhaps in a process group of its own, and wait until it says where it listens."""
    process = subprocess.Popen(
        [str(ANYTIME), "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=own_group,
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"serves .* on (http://\S+)", line):
            return RealServer(url=found[1], process=process)
    raise AssertionError(f"the server ended with {process.wait()}:\n{''.join(said)}")


@pytest.fixture(scope="session")
def real_server(tiny_checkpoint: Path) -> Generator[RealServer, None, None]:
    """One server on the tiny random checkpoint, for all tests that leave it whole."""
    server = start(["--model", str(tiny_checkpoint)])
    yield server
    server.stop()


@pytest.fixture
def start_server() -> Generator[Callable[..., RealServer], None, None]:
    """Starts servers of a test's own."""
    started: list[RealServer] = []

    def begin(*arguments: str, own_group: bool = False) -> RealServer:
        started.append(start(arguments, own_group=own_group))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()
