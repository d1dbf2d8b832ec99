"""`anytime serve`: its options, keys and signals."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import httpx2
import pytest
from anytime_server.server.run import main

from ...servers import start


def test_keys_are_read_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--keys", "/no/such/file", "--engine", "scripted"]) == 2
    assert capsys.readouterr().err == "anytime serve: --keys: /no/such/file: No such file or directory\n"


def test_sighup_reads_the_keys_again(tmp_path: Path) -> None:
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


def test_sighup_ends_a_server_without_a_key_file() -> None:
    server = start(["--engine", "scripted"])
    server.process.send_signal(signal.SIGHUP)
    output, _ = server.process.communicate(timeout=30)
    assert (server.process.returncode, "Stopping." in output) == (0, True)


@pytest.mark.parametrize(("options", "status"), [([], 403), (["--allow-anonymous"], 200)])
def test_without_keys_only_local_hosts_are_served_by_default(options: list[str], status: int) -> None:
    server = start(["--engine", "scripted", *options])
    try:
        for host, expected in (("page.example", status), ("localhost", 200)):
            assert httpx2.get(f"{server.url}/v1/models", headers={"Host": host}).status_code == expected
    finally:
        assert server.stop() == 0


def test_log_content_needs_log_level_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", "scripted", "--log-content"]) == 2
    assert "--log-content: needs --log-level info" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "client"),
    [([], "127.0.0.1"), (["--forwarded-allow-ips", "127.0.0.0/8"], "203.0.113.7")],
)
def test_the_log_shows_the_peer_unless_a_proxy_is_trusted(options: list[str], client: str) -> None:
    server = start(["--engine", "scripted", "--log-level", "info", *options])
    httpx2.get(f"{server.url}/v1/models", headers={"X-Forwarded-For": "203.0.113.7"})
    server.process.send_signal(signal.SIGTERM)
    output, _ = server.process.communicate(timeout=30)
    line = next(line for line in output.splitlines() if "path=/v1/models" in line)
    assert f"client={client}" in line
