"""Accounts of secrets, and changes of the key file."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from anytime_server.auth import Account, Cost, Keyring
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


async def test_while_the_file_is_read_the_old_keys_stay_valid(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = load(path, entry("alice"))
    write(path, entry("bob"))
    reading, go_on = threading.Event(), threading.Event()
    loads = tomllib.loads

    def load_slowly(text: str) -> object:
        reading.set()
        assert go_on.wait(10)
        return loads(text)

    monkeypatch.setattr("tomllib.loads", load_slowly)
    refreshing = asyncio.create_task(keyring.refresh())
    assert await asyncio.to_thread(reading.wait, 10)
    assert keyring.account_of(b"alice").name == "alice"
    assert not refreshing.done()
    go_on.set()
    await refreshing
    assert keyring.account_of(b"bob").name == "bob"


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


NOTHING = Cost(thinking_tokens=0, tokens=0)


async def test_a_name_that_stays_keeps_its_usage(path: Path) -> None:
    keyring = load(path, entry("alice", requests_per_minute=60, concurrency=1))
    [admission] = keyring.account_of(b"alice").admit(NOTHING)
    write(path, entry("alice", "another", requests_per_minute=120, concurrency=1))
    await keyring.refresh()
    account = keyring.account_of(b"another")  # another secret, the same account
    assert account is admission.account
    [requests] = account.quotas.values()
    assert requests.limit == 120
    assert requests.remaining < 120
    with pytest.raises(RateLimited, match="at a time"):
        account.admit(NOTHING)


async def test_a_key_that_is_removed_and_added_again_keeps_its_usage(path: Path) -> None:
    now, limited = [0], entry("alice", requests_per_minute=2, requests_per_day=3)
    write(path, limited)
    keyring = Keyring.of(str(path), clock_ns=lambda: now[0])
    for _ in range(2):
        keyring.account_of(b"alice").count_request()

    async def remove_and_add() -> Account:
        for text in (entry("bob"), limited):
            write(path, text)
            await keyring.refresh()
        return keyring.account_of(b"alice")

    for seconds in (0, 29):
        now[0] = seconds * 10**9
        with pytest.raises(RateLimited, match="2 requests per minute"):
            (await remove_and_add()).count_request()
    now[0] = 60 * 10**9
    (await remove_and_add()).count_request()
    with pytest.raises(RateLimited, match="3 requests per day"):
        (await remove_and_add()).count_request()
    now[0] = 2 * 86_400 * 10**9
    assert not (await remove_and_add()).has_usage


async def test_a_key_that_is_removed_and_added_again_keeps_its_sessions(path: Path) -> None:
    keyring = load(path, entry("alice", concurrency=1) + entry("bob"))
    [admission] = keyring.account_of(b"alice").admit(NOTHING)
    for text in (entry("bob"), entry("alice", concurrency=1)):
        write(path, text)
        await keyring.refresh()
    with pytest.raises(RateLimited, match="at a time"):
        keyring.account_of(b"alice").admit(NOTHING)
    admission.end(NOTHING)
    keyring.account_of(b"alice").admit(NOTHING)


async def test_the_audit_log_has_each_change_and_no_secrets(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anytime.audit")
    keyring = load(path, entry("alice") + entry("bob") + entry("carol") + entry("ed"))
    changed = entry("alice", requests_per_day=5) + entry("carol", disabled=True) + entry("ed", "new")
    write(path, changed + entry("dora"))
    await keyring.refresh()
    lines = [vars(record) for record in caplog.records if record.name == "anytime.audit"]
    assert [(line["message"], line["key"], line.get("changes")) for line in lines] == [
        ("API key changed", "alice", "requests_per_day: None -> 5"),
        ("API key removed", "bob", None),
        ("API key changed", "carol", "disabled: False -> True"),
        ("API key added", "dora", None),
        ("API key changed", "ed", "another secret"),
    ]
    assert not re.search("[0-9a-f]{32}", str([(line["message"], line.get("changes")) for line in lines]))


def test_a_key_of_another_role_is_forbidden(path: Path) -> None:
    keyring = load(path, entry("alice") + entry("prometheus", role="metrics"))
    assert keyring.account_of(b"prometheus", roles={"metrics"}).name == "prometheus"
    assert keyring.account_of(b"prometheus", roles={"metrics", "user"}).name == "prometheus"
    with pytest.raises(Forbidden, match="'prometheus' has the role 'metrics'; this path needs 'user'"):
        keyring.account_of(b"prometheus")
    with pytest.raises(Forbidden, match="'alice' has the role 'user'"):
        keyring.account_of(b"alice", roles={"metrics"})


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
