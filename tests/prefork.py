"""Starts `anytime serve` by forking a process that has imported all of it: 0.3 s in place of 5 to 10.

The child is a process of its own, with its own signals, output and exit status. `PreforkedProcess` has those
methods of `subprocess.Popen` that tests of servers use. Knows nothing of servers' options.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

POLL_S = 0.01
MAX_MESSAGE_BYTES = 1 << 20
MODULES = (
    "anytime_server.api.app",
    "anytime_server.engine.scripted",
    "anytime_server.engine.vllm",
    "anytime_server.server.engine",
    "anytime_server.server.model",
    "anytime_server.server.shutdown",
    "anytime_server.telemetry.setup",
    "vllm.v1.engine.async_llm",
)
"""Modules that `anytime serve` imports after it has read its options."""


class PreforkedProcess:
    """A child of the preforked process."""

    def __init__(self, preforked: Preforked, pid: int, output: int) -> None:
        self.pid = pid
        self.stdout: IO[str] = open(output, encoding="utf-8", errors="replace")  # noqa: SIM115
        self._preforked = preforked

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._preforked.status_of(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("anytime serve", timeout or 0)
            time.sleep(POLL_S)
        return status

    def communicate(self, *, timeout: float | None = None) -> tuple[str, None]:
        """The rest of the output of the process and of all that inherited it, once they have ended."""
        if self.stdout.closed:
            self.wait(timeout)
            return "", None
        read: list[str] = []
        reading = threading.Thread(target=lambda: read.append(self.stdout.read()), daemon=True)
        reading.start()
        reading.join(timeout)
        if reading.is_alive():
            raise subprocess.TimeoutExpired("anytime serve", timeout or 0)
        self.wait(timeout)
        self.stdout.close()
        return read[0], None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Preforked:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(other.fileno())],
                pass_fds=[other.fileno()],
                start_new_session=True,
            )
        self._socket = own
        self._lock = threading.Lock()
        self._statuses: dict[int, int] = {}

    def start(
        self,
        arguments: Sequence[str],
        *,
        own_group: bool = False,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> PreforkedProcess:
        """Start `anytime serve` with the arguments, by default in folder and environment of this process."""
        output, inherited = os.pipe()
        request = {
            "arguments": list(arguments),
            "environment": os.environ | (environment or {}),
            "folder": str(folder or os.getcwd()),
            "own_group": own_group,
        }
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [inherited])
            os.close(inherited)
            while "started" not in (message := self._receive()):
                pass
        return PreforkedProcess(self, message["started"], output)

    def status_of(self, pid: int) -> int | None:
        """The exit status of a child that has ended, as `subprocess` gives it; None while it runs."""
        with self._lock:
            while pid not in self._statuses and self._receive(socket.MSG_DONTWAIT):
                pass
        return self._statuses.get(pid)

    def _receive(self, flags: int = 0) -> dict[str, int]:
        """The next message. Without a message, an empty one."""
        try:
            received = self._socket.recv(MAX_MESSAGE_BYTES, flags)
        except BlockingIOError:
            return {}
        assert received, "the preforked process has ended"
        message = json.loads(received)
        if "ended" in message:
            self._statuses[message["ended"]] = message["status"]
        return message


@cache
def preforked() -> Preforked:
    """The preforked process of this worker."""
    return Preforked()


def _import_server() -> None:
    from anytime_server.engine.environment import preload_allocator, prepare_environment

    prepare_environment()
    preload_allocator()  # may start this process again
    for module in MODULES:
        importlib.import_module(module)
    from anytime_server.text.model import BUNDLED_MODEL, Model

    Model.load(BUNDLED_MODEL)


def _serve(request: dict[str, Any], output: int) -> NoReturn:
    """Become `anytime serve`."""
    if request["own_group"]:
        os.setsid()
    os.chdir(request["folder"])
    preload = {name: os.environ[name] for name in ("LD_PRELOAD",) if name in os.environ}
    os.environ.clear()
    os.environ.update(request["environment"] | preload)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    sys.argv = ["anytime", "serve", *request["arguments"]]
    from anytime_server.cli import main

    status = 0
    try:
        main(sys.argv[1:])
    except SystemExit as ended:
        status = ended.code
    # As at the end of an interpreter, apart from the destruction of all that vLLM and torch have made.
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # also ends the idle threads of pools
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 1)


def _fork_on_request(connection: socket.socket) -> None:
    """Fork for each request, and report the ends of children, until the tests close their socket."""
    wakes, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    while True:
        ready, _, _ = select.select([connection, wakes], [], [])
        if wakes in ready:
            os.read(wakes, 4096)
            while children and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                children.discard(pid)
                message = {"ended": pid, "status": os.waitstatus_to_exitcode(status)}
                connection.send(json.dumps(message).encode())
        if connection not in ready:
            continue
        received, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 1)
        if not received:
            break
        if (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (wakes, wake, connection.detach()):
                os.close(inherited)
            _serve(json.loads(received), descriptors[0])
        os.close(descriptors[0])
        children.add(pid)
        connection.send(json.dumps({"started": pid}).encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _import_server()
    gc.freeze()  # the children need not look through what they inherit
    _fork_on_request(socket.socket(fileno=int(sys.argv[1])))
