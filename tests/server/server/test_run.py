"""The port, before there is a server on it."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from anytime_server.errors import UnusableOption
from anytime_server.server.run import _listen, main

from ...servers import start

FORK = """
import os, socket
import psutil
from anytime_server.server.run import _listen

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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_where_others_come_it_does_not_listen_unless_they_may(host: str) -> None:
    with pytest.raises(UnusableOption, match=r"^--host: .* give --keys, or --allow-anonymous"):
        _listen(host, 0, others_may_come=False)
    _listen(host, 0).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_on_this_machine_it_listens_without_keys(host: str) -> None:
    _listen(host, 0, others_may_come=False).close()


def test_keys_are_read_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--keys", "/no/such/file", "--engine", "scripted"]) == 2
    assert capsys.readouterr().err == "anytime serve: --keys: /no/such/file: No such file or directory\n"


def test_a_server_reads_its_keys_again_when_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)

    def write(name: str) -> None:
        path.write_text(
            f'[[keys]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'
        )
        os.utime(path, (0, 0))  # so that it does not look changed

    write("alice")
    server = start(["--engine", "scripted", "--host", "0.0.0.0", "--keys", str(path)])
    try:
        url = server.url.replace("0.0.0.0", "127.0.0.1")

        def status(secret: str) -> int:
            return httpx2.get(f"{url}/v1/models", headers={"x-api-key": secret}).status_code

        assert (status("alice"), status("bobby")) == (200, 401)
        write("bobby")
        server.process.send_signal(signal.SIGHUP)
        while status("bobby") != 200:
            assert server.process.poll() is None
        assert status("alice") == 401
    finally:
        assert server.stop() == 0


def test_one_whose_keys_are_in_no_file_drains_when_it_is_hung_up_on() -> None:
    server = start(["--engine", "scripted"])
    server.process.send_signal(signal.SIGHUP)
    said, _ = server.process.communicate(timeout=30)
    assert (server.process.returncode, "Stopping." in said) == (0, True)


@pytest.mark.parametrize(("options", "status"), [([], 403), (["--allow-anonymous"], 200)])
def test_without_keys_it_is_for_its_own_machine_unless_told(options: list[str], status: int) -> None:
    server = start(["--engine", "scripted", *options])
    try:
        for host, expected in (("page.example", status), ("localhost", 200)):
            assert httpx2.get(f"{server.url}/v1/models", headers={"Host": host}).status_code == expected
    finally:
        assert server.stop() == 0


def test_content_is_not_logged_where_nothing_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", "scripted", "--log-content"]) == 2
    assert "--log-content: takes --log-level info" in capsys.readouterr().err
