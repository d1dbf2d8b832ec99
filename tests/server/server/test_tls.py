"""HTTPS with certificates made by the tests."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
from pathlib import Path

import httpx2
import pytest
from anytime_client import Client, ServerUnreachable
from anytime_server.errors import UnusableOption
from anytime_server.server.run import main
from anytime_server.server.tls import Tls

from ...servers import start


def make(folder: Path, name: str, *options: str) -> tuple[str, str]:
    """Paths of a self-signed certificate for `name`, valid for localhost, and of its key."""
    cert, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = [*made, *subject, *(options or ["-nodes"]), "-out", cert, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def test_the_greeting_and_the_server_use_https(tmp_path: Path) -> None:
    cert, key = make(tmp_path, "a")
    server = start(["--engine", "scripted", "--tls-cert", cert, "--tls-key", key])
    try:
        assert server.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=cert)
        with httpx2.Client(base_url=server.url, verify=trusting) as http:
            response = http.post(
                "/v1/anytime", json={"messages": [{"role": "user", "content": "7-3"}], "budget": 5}
            )
            assert "event: done" in response.text
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            assert b"200" not in plain.recv(100)
        with Client(server.url) as distrustful, pytest.raises(ServerUnreachable, match="SSL_CERT_FILE"):
            distrustful.models()
    finally:
        assert server.stop() == 0


def test_bad_files_are_one_error_at_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cert, key = make(tmp_path, "a")
    _, other_key = make(tmp_path, "b")
    _, locked_key = make(tmp_path, "c", "-passout", "pass:secret")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for options, expected in [
        (["--tls-cert", "/no/cert"], "--tls-cert: /no/cert: No such file or directory"),
        (["--tls-cert", cert, "--tls-key", "/no/key"], "--tls-key: /no/key: No such file or directory"),
        (["--tls-cert", cert, "--tls-client-ca", "/no/ca"], "--tls-client-ca: /no/ca: No such file"),
        (["--tls-cert", str(tmp_path)], "Is a directory"),
        (["--tls-cert", cert, "--tls-key", other_key], "the key does not belong to the certificate"),
        (["--tls-cert", cert], "or give --tls-key"),
        (["--tls-cert", str(garbage), "--tls-key", key], "a certificate and its private key"),
        (
            ["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", str(garbage)],
            f"--tls-client-ca: {garbage}: ",
        ),
        (["--tls-cert", cert, "--tls-key", locked_key], "--tls-key-password is missing or wrong"),
        (["--tls-key", key], "--tls-key: needs --tls-cert"),
    ]:
        assert main(["--engine", "scripted", *options]) == 2
        error = capsys.readouterr().err
        assert error.startswith("anytime serve: --tls-")
        assert error.count("\n") == 1
        assert expected in error


def test_the_password_opens_the_key(tmp_path: Path) -> None:
    cert, key = make(tmp_path, "a", "-passout", "pass:secret")
    assert "secret" not in repr(Tls(cert=cert, key=key, password="secret"))
    with pytest.raises(UnusableOption):
        Tls(cert=cert, key=key, password="wrong")


def handshake(tls: Tls, client: ssl.SSLContext) -> str:
    """The subject of the certificate that a client sees."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    two = tls.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (one, two):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return dict(part[0] for part in (one.getpeercert() or {})["subject"])["commonName"]  # pyright: ignore


def test_reload_uses_the_new_certificate_unless_it_is_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = make(tmp_path, "a")
    new_cert, new_key = make(tmp_path, "b")
    tls = Tls(cert=cert, key=key)
    client = ssl.create_default_context(cafile=cert)
    client.load_verify_locations(new_cert)
    assert handshake(tls, client) == "a"
    Path(cert).write_text("broken")
    with caplog.at_level(logging.INFO):
        tls.reload()
    assert "the certificate stays as it was: --tls-cert" in caplog.text
    assert handshake(tls, client) == "a"
    Path(cert).write_text(Path(new_cert).read_text())
    Path(key).write_text(Path(new_key).read_text())
    with caplog.at_level(logging.INFO):
        tls.reload()
    assert "the certificate was read again" in caplog.text
    assert handshake(tls, client) == "b"


def test_clients_need_a_certificate_with_a_client_ca(tmp_path: Path) -> None:
    cert, key = make(tmp_path, "a")
    tls = Tls(cert=cert, key=key, client_ca=cert)
    client = ssl.create_default_context(cafile=cert)
    with pytest.raises(ssl.SSLError):
        handshake(tls, client)
    client.load_cert_chain(cert, key)
    assert handshake(tls, client) == "a"
