"""Whose a secret is, and what happens to that when the file of the keys changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from anytime_server.auth import Keyring
from anytime_server.errors import Forbidden, RateLimited, Unauthorized, UnusableOption

SECOND_NS = 1_000_000_000


def entry(name: str, secret: str | None = None, **fields: object) -> str:
    values = {"name": name, "sha256": hashlib.sha256((secret or name).encode()).hexdigest()} | fields
    lines = [f"{field} = {value!r}".replace("True", "true") for field, value in values.items()]
    return "\n".join(["[[keys]]", *lines, ""])


class Opened:
    """A keyring, its file and its clock."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self.path, self.now_ns = path, 0

    def open(self, text: str) -> Keyring:
        self.path.write_text(text)
        self.keyring = Keyring.of(str(self.path), clock_ns=lambda: self.now_ns)
        return self.keyring

    def write(self, text: str) -> None:
        """Change the file, and let a second go by."""
        self.path.write_text(text)
        self.now_ns += SECOND_NS


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path / "keys.toml")


def test_a_secret_finds_its_account(opened: Opened) -> None:
    keyring = opened.open(entry("alice") + entry("bob", "b"))
    assert keyring.account_of(b"alice").name == "alice"
    assert keyring.account_of(b"b").name == "bob"
    assert keyring.account_of(b"b") is keyring.account_of(b"b")


@pytest.mark.parametrize("secret", [None, b"", b"bob", b"Alice", b"alice ", b"\xff", b"a" * 100_000])
def test_whoever_has_none_that_is_known_is_not_let_in(opened: Opened, secret: bytes | None) -> None:
    keyring = opened.open(entry("alice"))
    with pytest.raises(Unauthorized):
        keyring.account_of(secret)


def test_the_hash_of_a_secret_is_no_secret(opened: Opened) -> None:
    keyring = opened.open(entry("alice"))
    with pytest.raises(Unauthorized):
        keyring.account_of(hashlib.sha256(b"alice").hexdigest().encode())


def test_a_key_that_is_disabled_or_has_expired(opened: Opened) -> None:
    dated = [entry(name) + f"expires = {when}-01-01T00:00:00Z\n" for name, when in [("c", 2020), ("d", 9000)]]
    keyring = opened.open(entry("alice", disabled=True) + "".join(dated))
    with pytest.raises(Forbidden, match="'alice' is disabled"):
        keyring.account_of(b"alice")
    with pytest.raises(Forbidden, match="'c' has expired"):
        keyring.account_of(b"c")
    assert keyring.account_of(b"d").name == "d"


def test_a_key_that_is_taken_out_stops_and_one_that_is_put_in_begins(opened: Opened) -> None:
    keyring = opened.open(entry("alice") + entry("bob"))
    opened.path.write_text(entry("bob") + entry("carol"))
    assert keyring.account_of(b"alice")  # within a second of the last look
    opened.now_ns += SECOND_NS
    with pytest.raises(Unauthorized):
        keyring.account_of(b"alice")
    assert keyring.account_of(b"carol").name == "carol"


def test_being_told_to_look_it_looks_at_once(opened: Opened) -> None:
    keyring = opened.open(entry("alice"))
    opened.path.write_text(entry("bobby"))
    assert keyring.account_of(b"alice")  # it looks once a second
    keyring.expire()
    with pytest.raises(Unauthorized):
        keyring.account_of(b"alice")


def test_who_stays_keeps_what_was_used(opened: Opened) -> None:
    keyring = opened.open(entry("alice", requests_per_minute=60, concurrency=1))
    admission = keyring.account_of(b"alice").admit(8)
    opened.write(entry("alice", "another", requests_per_minute=120, concurrency=1))
    account = keyring.account_of(b"another")  # another secret, the same account
    assert account is admission.account
    assert account.requests is not None
    assert (account.requests.limit, account.requests.remaining) == (120, 60)
    with pytest.raises(RateLimited, match="at a time"):
        account.admit(8)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("[[keys]]\nname ="),
        lambda path: path.write_text(""),
        lambda path: path.write_text(entry("bob") + entry("bob")),
        lambda path: path.unlink(),
    ],
    ids=["half", "empty", "twice", "gone"],
)
def test_a_file_that_breaks_changes_nothing_and_is_told_once(
    opened: Opened, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
) -> None:
    keyring = opened.open(entry("alice"))
    spoil(opened.path)
    for _ in range(5):
        opened.now_ns += SECOND_NS
        assert keyring.account_of(b"alice").name == "alice"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"--keys: {opened.path}: " in caplog.text
    opened.path.touch(mode=0o600)
    opened.write(entry("bob"))
    assert keyring.account_of(b"bob").name == "bob"


def test_more_keys_in_the_option_than_a_path_is_long() -> None:
    keyring = Keyring.of(
        ",".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}" for name in "abcdefgh")
    )
    assert keyring.account_of(b"h").name == "h"


@pytest.mark.parametrize(("option", "why"), [("", "is empty"), ("any-sEcReT", "looks like a secret")])
def test_what_is_no_keys_is_not_told_again(option: str, why: str) -> None:
    with pytest.raises(UnusableOption, match=why) as refused:
        Keyring.of(option)
    assert "sEcReT" not in str(refused.value)


def test_a_change_that_keeps_size_and_time_is_seen(opened: Opened) -> None:
    keyring = opened.open(entry("alice"))
    before = opened.path.stat()
    opened.path.write_text(entry("carol"))
    os.utime(opened.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    opened.now_ns += SECOND_NS
    assert keyring.account_of(b"carol").name == "carol"
    with pytest.raises(Unauthorized):
        keyring.account_of(b"alice")


def test_keys_in_the_option_itself() -> None:
    digest = hashlib.sha256(b"a").hexdigest()
    keyring = Keyring.of(f"alice:{digest}")
    keyring.expire()
    assert keyring.account_of(b"a").name == "alice"
    with pytest.raises(UnusableOption, match=r"keys\[0\] \(alice\): sha256"):
        Keyring.of("alice:secret")
    with pytest.raises(UnusableOption, match="No such file"):
        Keyring.of("alice")
