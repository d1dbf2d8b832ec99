"""The listening socket."""

from __future__ import annotations

import socket
import subprocess
import sys
from ipaddress import ip_address

import pytest
from anytime_server.errors import UnusableOption
from anytime_server.server.listen import listen

FORK = """
import os, socket
import psutil
from anytime_server.server.listen import listen

listener = listen("127.0.0.1", 0)
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


def test_a_forked_engine_inherits_neither_the_port_nor_its_connections() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("host", ["nope.invalid", "a" * 300, "192.0.2.1"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(UnusableOption, match=r"^--host: "):
        listen(host, 0)


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UnusableOption, match=rf"^--port: cannot listen on .*, port {port}: Address"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_remote_addresses_need_permission(host: str) -> None:
    with pytest.raises(UnusableOption, match=r"^--host: .* give --keys, or --allow-anonymous"):
        listen(host, 0, allow_remote=False)
    listen(host, 0).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_loopback_addresses_need_no_permission(host: str) -> None:
    with listen(host, 0, allow_remote=False) as listener:
        assert ip_address(listener.getsockname()[0]).is_loopback
