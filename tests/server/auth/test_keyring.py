"""Accounts of secrets, and changes of the key file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from anytime_server.auth import Keyring
from anytime_server.auth.keys import Key
from anytime_server.errors import Forbidden, RateLimited, Unauthorized, UnusableOption


def entry(name: str, secret: str | None = None, **fields: object) -> str:
    values = {"name": name, "sha256": hashlib.sha256((secret or name).encode()).hexdigest()} | fields
    lines = [f"{field} = {value!r}".replace("True", "true") for field, value in values.items()]
    return "\n".join(["[[keys]]", *lines, ""])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file that only its owner can read."""
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


def load(path: Path, text: str) -> Keyring:
    write(path, text)
    return Keyring.of(str(path))


def test_a_secret_finds_its_account(path: Path) -> None:
    keyring = load(path, entry("alice") + entry("bob", "b"))
    assert keyring.account_of(b"alice").name == "alice"
    assert keyring.account_of(b"b").name == "bob"
    assert keyring.account_of(b"b") is keyring.account_of(b"b")


@pytest.mark.parametrize("secret", [None, b"", b"bob", b"Alice", b"alice ", b"\xff", b"a" * 100_000])
def test_missing_and_unknown_secrets_are_unauthorized(path: Path, secret: bytes | None) -> None:
    keyring = load(path, entry("alice"))
    with pytest.raises(Unauthorized):
        keyring.account_of(secret)


def test_the_hash_of_a_secret_is_not_accepted(path: Path) -> None:
    keyring = load(path, entry("alice"))
    with pytest.raises(Unauthorized):
        keyring.account_of(hashlib.sha256(b"alice").hexdigest().encode())


def test_disabled_and_expired_keys_are_forbidden(path: Path) -> None:
    dated = [entry(name) + f"expires = {when}-01-01T00:00:00Z\n" for name, when in [("c", 2020), ("d", 9000)]]
    keyring = load(path, entry("alice", disabled=True) + "".join(dated))
    with pytest.raises(Forbidden, match="'alice' is disabled"):
        keyring.account_of(b"alice")
    with pytest.raises(Forbidden, match="'c' has expired"):
        keyring.account_of(b"c")
    assert keyring.account_of(b"d").name == "d"


async def test_a_changed_file_replaces_the_keys(path: Path) -> None:
    keyring = load(path, entry("alice") + entry("bob"))
    write(path, entry("bob") + entry("carol"))
    assert keyring.account_of(b"alice")  # until the file is checked
    await keyring.refresh()
    with pytest.raises(Unauthorized):
        keyring.account_of(b"alice")
    assert keyring.account_of(b"carol").name == "carol"


async def test_while_watched_the_keys_follow_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anytime_server.auth.keyring.CHECK_EVERY_S", 0.001)
    keyring = load(path, entry("alice"))
    watching = asyncio.create_task(keyring.watch())
    for name in ("bob", "carol"):
        write(path, entry(name))
        while not known(keyring, name):
            await asyncio.sleep(0.001)
        assert not known(keyring, "alice")
    watching.cancel()


async def test_keys_without_a_file_are_not_watched() -> None:
    keyring = Keyring.of(f"alice:{hashlib.sha256(b'a').hexdigest()}")
    assert not keyring.has_file
    async with asyncio.timeout(5):
        await keyring.watch()  # returns at once


def known(keyring: Keyring, name: str) -> bool:
    try:
        return keyring.account_of(name.encode()).name == name
    except Unauthorized:
        return False


async def test_while_the_file_is_read_the_old_keys_stay_valid(path: Path) -> None:
    keyring = load(path, entry("alice"))
    os.unlink(path)
    os.mkfifo(path, mode=0o600)  # reading it takes until there is a writer
    refreshing = asyncio.create_task(keyring.refresh())
    for _ in range(10):
        await asyncio.sleep(0.001)
        assert keyring.account_of(b"alice").name == "alice"
    assert not refreshing.done()
    await asyncio.to_thread(path.write_text, entry("bob"))
    await refreshing
    assert keyring.account_of(b"bob").name == "bob"


async def test_the_file_is_accessed_in_another_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = load(path, entry("alice"))
    write(path, entry("bob"))
    threads: dict[str, threading.Thread] = {}

    def note(name: str, method: Callable[..., object]) -> None:
        def noting(*arguments: object, **named: object) -> object:
            threads[name] = threading.current_thread()
            return method(*arguments, **named)

        monkeypatch.setattr(Path, name, noting)

    note("stat", Path.stat)
    note("read_text", Path.read_text)
    await keyring.refresh()
    assert threads.keys() == {"stat", "read_text"}
    assert threading.current_thread() not in threads.values()


async def test_invalidated_keys_are_read_from_an_unchanged_file(path: Path) -> None:
    reads: list[int] = []

    def read() -> list[Key]:
        reads.append(1)
        return []

    keyring = Keyring(read, path=path)
    await keyring.refresh()
    assert len(reads) == 1
    keyring.invalidate()
    await keyring.refresh()
    assert len(reads) == 2


async def test_a_name_that_stays_keeps_its_usage(path: Path) -> None:
    keyring = load(path, entry("alice", requests_per_minute=60, concurrency=1))
    admission = keyring.account_of(b"alice").admit(8)
    write(path, entry("alice", "another", requests_per_minute=120, concurrency=1))
    await keyring.refresh()
    account = keyring.account_of(b"another")  # another secret, the same account
    assert account is admission.account
    assert account.requests is not None
    assert account.requests.limit == 120
    assert account.requests.remaining < 120
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
async def test_a_malformed_file_changes_nothing_and_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
) -> None:
    keyring = load(path, entry("alice"))
    spoil(path)
    for _ in range(5):
        await keyring.refresh()
        assert keyring.account_of(b"alice").name == "alice"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"--keys: {path}: " in caplog.text
    write(path, entry("bob"))
    await keyring.refresh()
    assert keyring.account_of(b"bob").name == "bob"


def test_an_option_may_be_longer_than_a_path() -> None:
    keyring = Keyring.of(
        ",".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}" for name in "abcdefgh")
    )
    assert keyring.account_of(b"h").name == "h"


@pytest.mark.parametrize(("option", "reason"), [("", "is empty"), ("any-sEcReT", "looks like a secret")])
def test_an_error_does_not_repeat_a_secret(option: str, reason: str) -> None:
    with pytest.raises(UnusableOption, match=reason) as refused:
        Keyring.of(option)
    assert "sEcReT" not in str(refused.value)


async def test_a_change_of_equal_size_and_time_is_detected(path: Path) -> None:
    keyring = load(path, entry("alice"))
    before = os.stat(path)
    write(path, entry("carol"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await keyring.refresh()
    assert keyring.account_of(b"carol").name == "carol"
    with pytest.raises(Unauthorized):
        keyring.account_of(b"alice")


def test_keys_in_the_option_itself() -> None:
    digest = hashlib.sha256(b"a").hexdigest()
    keyring = Keyring.of(f"alice:{digest}")
    assert keyring.account_of(b"a").name == "alice"
    with pytest.raises(UnusableOption, match=r"keys\[0\] \(alice\): sha256"):
        Keyring.of("alice:secret")
    with pytest.raises(UnusableOption, match="No such file"):
        Keyring.of("alice")
