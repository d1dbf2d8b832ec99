"""Keys in a file and in an option, and the errors of malformed ones."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from anytime_server.auth.keys import MAX_FILE_BYTES, read_file, read_line
from anytime_server.errors import UnusableOption

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
ALICE, BOB = f'[[keys]]\nname = "alice"\nsha256 = "{A}"\n', f'[[keys]]\nname = "bob"\nsha256 = "{B}"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)
    return path


def test_every_field_of_a_key(path: Path) -> None:
    path.write_text(
        f"{ALICE}concurrency = 3\nmax_waiting = 0\nrequests_per_minute = 60\nrequests_per_day = 1000\n"
        "tokens_per_minute = 20000\ntokens_per_day = 90000\nthinking_tokens_per_minute = 9000\n"
        "default_budget = 0\nmax_budget = 512\nmax_deadline_ms = 5000\nmax_answer_tokens = 70\n"
        f'expires = 2030-01-31T12:00:00Z\n{BOB}disabled = true\nrole = "metrics"\n'
    )
    alice, bob = read_file(path)
    assert (alice.name, alice.sha256, alice.disabled) == ("alice", A, False)
    assert (alice.concurrency, alice.max_waiting, alice.role) == (3, 0, "user")
    assert (alice.requests_per_minute, alice.requests_per_day) == (60, 1000)
    assert (alice.tokens_per_minute, alice.tokens_per_day) == (20_000, 90_000)
    assert (alice.thinking_tokens_per_minute, bob.role) == (9000, "metrics")
    assert (alice.default_budget, alice.max_budget, bob.max_budget) == (0, 512, None)
    assert (alice.max_deadline_ms, alice.max_answer_tokens) == (5000, 70)
    assert not alice.has_expired(datetime(2030, 1, 31, 11, 59, 59, tzinfo=UTC))
    assert alice.has_expired(datetime(2030, 1, 31, 12, tzinfo=UTC))
    assert bob.disabled
    assert not bob.has_expired(datetime(9000, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "there are no keys"),
        ("keys = 3", "keys: must be tables [[keys]]"),
        ("keys = [3]", "keys[0]: "),
        (ALICE + "mood = 1", "keys[0] (alice): mood: unknown field"),
        (
            BOB + ALICE.replace(A, "x"),
            "keys[1] (alice): sha256: must be 64 hexadecimal digits, in lower case",
        ),
        (ALICE.replace(A, A.upper()), "keys[0] (alice): sha256: must be 64"),
        (ALICE.replace(A, A + "\\n"), "keys[0] (alice): sha256: must be 64"),
        ('[[keys]]\nname = "alice"', "keys[0] (alice): sha256: is missing"),
        (f'[[keys]]\nsha256 = "{A}"', "keys[0]: name: is missing"),
        (ALICE.replace("alice", "al ice"), "keys[0] (al ice): name: must be 1 to 64 of"),
        (ALICE + "concurrency = 0", "keys[0] (alice): concurrency: "),
        (ALICE + "requests_per_minute = '60'", "keys[0] (alice): requests_per_minute: "),
        (ALICE + "requests_per_minute = true", "keys[0] (alice): requests_per_minute: "),
        (ALICE + "thinking_tokens_per_minute = 1.5", "keys[0] (alice): thinking_tokens_per_minute: "),
        (ALICE + "expires = 2030-01-01", "keys[0] (alice): expires: must be a date and time with its zone"),
        (ALICE + "expires = 2030-01-01T00:00:00", "keys[0] (alice): expires: must have a time zone"),
        (ALICE + "disabled = 1", "keys[0] (alice): disabled: "),
        (ALICE + BOB.replace("bob", "alice"), "keys[1] (alice): name: another key has the same"),
        (ALICE + BOB.replace(B, A), "keys[1] (bob): sha256: another key has the same"),
        ("name = 'alice'", "name: unknown; keys are tables [[keys]]"),
        ("[[keys]", "not TOML: Expected"),
        (ALICE + "role = 'admin'", "keys[0] (alice): role: "),
        (ALICE + "max_waiting = -1", "keys[0] (alice): max_waiting: "),
        (ALICE + "tokens_per_day = 1" + "0" * 16, "keys[0] (alice): tokens_per_day: "),
        (ALICE + "tokens_per_day = " + "9" * 5000, "not TOML: Exceeds the limit"),
        (ALICE + "role = " + "[" * 20_000, "is nested too deeply"),
        (ALICE.replace("alice", "any-secret"), "keys[0]: name: looks like a secret"),
        (ALICE.replace("alice", "a\\u001b[2J" + "a" * 99), "keys[0] (a\\x1b[2J" + "a" * 75 + "...): name: "),
        (ALICE + '"\\n" = 1', "keys[0] (alice): \\n: unknown field"),
        ('"\\u001b" = 1', "\\x1b: unknown; keys are tables [[keys]]"),
    ],
)
def test_a_malformed_file_is_refused_with_the_position(path: Path, text: str, complaint: str) -> None:
    path.write_text(text)
    with pytest.raises(
        UnusableOption, match=f"^--keys: {re.escape(str(path))}: {re.escape(complaint)}"
    ) as refused:
        read_file(path)
    assert str(refused.value).isprintable()
    assert "any-secret" not in str(refused.value)


def test_only_regular_files_of_limited_size_are_read(path: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "large", "wb") as large:
        large.truncate(MAX_FILE_BYTES + 1)
    refused = {
        tmp_path / "nope.toml": "No such file or directory",
        tmp_path / "pipe": "is not a regular file",
        tmp_path: "is not a regular file",
        Path("/dev/zero"): "is not a regular file",
        tmp_path / "large": "is larger than 32 MiB",
    }
    for refused_path, reason in refused.items():
        with pytest.raises(UnusableOption, match=f"^--keys: {refused_path}: {reason}$"):
            read_file(refused_path)
    path.write_text(ALICE)
    (tmp_path / "link").symlink_to(path)
    assert [key.name for key in read_file(tmp_path / "link")] == ["alice"]


def test_keys_in_an_option() -> None:
    alice, bob = read_line(f" alice:{A}, bob:{B},")
    assert (alice.name, alice.sha256, bob.name, bob.sha256) == ("alice", A, "bob", B)
    assert alice.concurrency is None


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "there are no keys"),
        (f"alice:{A},bob:secret", "keys[1] (bob): sha256: must be 64"),
        (f"alice:{A},bob", "keys[1] (bob): sha256: must be 64"),
        (f":{A}", "name: must be 1 to 64"),
        (f"alice:{A},alice:{B}", "keys[1] (alice): name: another key has the same"),
    ],
)
def test_a_malformed_option_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(UnusableOption, match=re.escape(complaint)) as refused:
        read_line(line)
    assert "secret" not in str(refused.value)
