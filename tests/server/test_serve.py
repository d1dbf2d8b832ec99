"""The port, before there is a server on it."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from anytime_server.errors import UnusableOption
from anytime_server.serve import _listen

FORK = """
import os, socket
import psutil
from anytime_server.serve import _listen

listener = _listen("127.0.0.1", 0)
client = socket.create_connection(listener.getsockname())
connection, _ = listener.accept()
in_use = connection.makefile()  # as by an event loop: closing the object would not close it now
other = socket.create_server(("127.0.0.1", 0))
began, begin = os.pipe()
ended, end = os.pipe()
if (child := os.fork()) == 0:
    os.write(begin, b".")
    os.read(ended, 1)
    os._exit(0)
os.read(began, 1)
port = listener.getsockname()[1]
held = [held.laddr.port for held in psutil.Process(child).net_connections()]
os.write(end, b".")
os.waitpid(child, 0)
assert port not in held, held
assert other.getsockname()[1] in held, held
connection.send(b"7")
assert client.recv(1) == b"7"
"""


def test_a_forked_engine_holds_neither_the_port_nor_its_connections() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("host", ["nope.invalid", "a" * 300, "192.0.2.1"])
def test_an_address_that_is_not_this_machines(host: str) -> None:
    with pytest.raises(UnusableOption, match=r"^--host: "):
        _listen(host, 0)


def test_a_port_that_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UnusableOption, match=rf"^--port: cannot listen on .*, port {port}: Address"):
            _listen("127.0.0.1", port)
