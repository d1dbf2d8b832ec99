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
    assert (account.name, account.concurrency, account.requests) == ("alice", 2, None)
    assert account.thinking_tokens is not None
    assert account.thinking_tokens.limit == 9000


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
