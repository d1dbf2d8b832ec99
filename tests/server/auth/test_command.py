"""`anytime keys new`: its entry accepts its secret, which is only on standard error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from anytime_server.auth import Keyring
from anytime_server.auth.command import main


def test_the_printed_entry_accepts_the_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)
    assert main(["new", "alice", "--concurrency", "2", "--thinking-tokens-per-minute", "9000"]) == 0
    alice = capsys.readouterr()
    assert main(["new", "bob"]) == 0
    bob = capsys.readouterr()
    path.write_text(alice.out + bob.out)
    [secret] = re.findall(r"any-[\w-]{43}", alice.err)
    [other] = re.findall(r"any-[\w-]{43}", bob.err)
    assert secret != other
    assert secret not in alice.out
    account = Keyring.of(str(path)).account_of(secret.encode())
    assert (account.name, account.limits.concurrency) == ("alice", 2)
    assert account.limits.requests_per_minute is None
    assert account.limits.thinking_tokens_per_minute == 9000


def test_the_secret_can_go_to_a_new_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, secret_file = tmp_path / "keys.toml", tmp_path / "secret"
    arguments = ["new", "prometheus", "--role", "metrics", "--secret-file", str(secret_file)]
    assert main(arguments) == 0
    output = capsys.readouterr()
    secret = secret_file.read_bytes()
    assert (output.err, secret_file.stat().st_mode & 0o777) == ("", 0o600)
    path.write_text(output.out)
    assert Keyring.of(str(path)).account_of(secret, roles={"metrics"}).name == "prometheus"
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"anytime keys: --secret-file: {secret_file}: File exists\n"
    assert secret_file.read_bytes() == secret


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [(["new", "al ice"], "name: "), (["new", "alice", "--concurrency", "0"], "concurrency: ")],
)
def test_invalid_arguments_are_refused(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.startswith(f"anytime keys: {complaint}")) == ("", True)
