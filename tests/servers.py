"""Starts and stops `anytime serve` as a separate process, forked or as a program."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

import httpx2
import psutil
from anytime_server.engine.structured.compiler import PROGRAM

from .prefork import preforked

ANYTIME = Path(sys.executable).with_name("anytime")
STOP_S = 30
SCHEMA_COMPILER = PROGRAM[-1]


class Process(Protocol):
    """The common part of `subprocess.Popen` and a forked server."""

    pid: int

    @property
    def stdout(self) -> IO[str] | None: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def communicate(self, *, timeout: float | None = None) -> tuple[str, str | None]: ...
    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """A running `anytime serve` and its address."""

    url: str
    process: Process

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for connections without an HTTP client."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=120, limits=httpx2.Limits(max_connections=256))

    def processes(self) -> list[psutil.Process]:
        """Those that the server has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def engine_processes(self) -> list[psutil.Process]:
        """Those of the engine, without the process that compiles schemas."""
        return [one for one in self.processes() if SCHEMA_COMPILER not in command_of(one)]

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=STOP_S)
        return self.process.wait()


def command_of(process: psutil.Process) -> list[str]:
    """The command line of a process; empty if it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def start(arguments: Sequence[str], *, own_group: bool = False, forked: bool = True) -> RealServer:
    """Start a server and wait until it prints its address.

    Args:
        own_group: gives the server a process group of its own.
        forked: forks a process that has imported the server already; otherwise the program is run.
    """
    options = ["--port", "0", *arguments]
    if forked:
        return started(preforked().start(options, own_group=own_group))
    return started(
        subprocess.Popen(
            [str(ANYTIME), "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=own_group,
        )
    )


def started(process: Process) -> RealServer:
    """Wait until a server prints its address."""
    assert process.stdout is not None
    output: list[str] = []
    for line in process.stdout:
        output.append(line)
        if found := re.search(r"serves .* on (https?://\S+)", line):
            return RealServer(url=found[1], process=process)
    process.stdout.close()
    raise AssertionError(f"the server ended with {process.wait()}:\n{''.join(output)}")
