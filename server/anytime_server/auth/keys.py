"""API keys as they are written in a TOML file or an option. Knows the hashes of secrets, not the secrets.

A secret is 256 random bits, so one round of SHA-256 is enough: slow hashes protect what can be guessed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from anytime_server.auth.limits import Limits
from anytime_server.errors import UnusableOption
from anytime_server.printable import beginning
from anytime_server.toml_file import read_toml

SECRET_PREFIX = "any-"
"""Makes secrets recognisable for people and for programs that search for leaked secrets."""

MAX_FILE_BYTES = 32 << 20
"""Enough for more than 100,000 keys."""


def _no_secret(name: str) -> str:
    if name.startswith(SECRET_PREFIX):
        raise PydanticCustomError("secret", "looks like a secret: names are written to logs")
    return name


Role = Literal["user", "metrics"]
Pattern = StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
Name = Annotated[str, Pattern, AfterValidator(_no_secret)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def sha256(secret: bytes) -> str:
    """The hash that a key file has instead of the secret."""
    return hashlib.sha256(secret).hexdigest()


class Key(Limits):
    """One API key with its limits."""

    name: Name
    """Name of the key in logs and metrics."""
    sha256: Sha256
    """SHA-256 of the secret, in hexadecimal."""
    role: Role = "user"
    """`user`: uses the model. `metrics`: reads /metrics and /version, and may do nothing else."""
    disabled: bool = False
    """Whether the key is refused."""
    expires: AwareDatetime | None = None
    """Time from which the key is refused."""

    def has_expired(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires


def read_file(path: Path) -> list[Key]:
    """The keys of a TOML file, each a table `[[keys]]`.

    Raises:
        UnusableOption: the file cannot be read, is malformed or has no keys; names the file, key and field.
    """
    content = read_toml(path, option="--keys", max_bytes=MAX_FILE_BYTES)
    tables = content.pop("keys", [])
    if content:
        unknown = beginning(next(iter(content)))
        raise UnusableOption(f"--keys: {path}: {unknown}: unknown; keys are tables [[keys]]")
    if not isinstance(tables, list):
        raise UnusableOption(f"--keys: {path}: keys: must be tables [[keys]]")
    return _checked(tables, source=str(path))


def read_line(line: str) -> list[Key]:
    """The keys of `name:sha256,name:sha256`; they have no limits.

    Raises:
        UnusableOption: the line is malformed; names the key and field.
    """
    entries = [entry.strip().partition(":") for entry in line.split(",") if entry.strip()]
    return _checked([{"name": name, "sha256": digest} for name, _, digest in entries], source="name:sha256")


def _checked(tables: Sequence[Any], *, source: str) -> list[Key]:
    if not tables:
        raise UnusableOption(f"--keys: {source}: there are no keys")
    keys: list[Key] = []
    for number, table in enumerate(tables):
        try:
            keys.append(Key.model_validate(table))
        except ValidationError as error:
            raise UnusableOption(f"--keys: {source}: {_entry(number, table)}: {fault(error)}") from error
    for field in ("name", "sha256"):
        value, times = Counter(getattr(key, field) for key in keys).most_common(1)[0]
        if times > 1:
            number = max(number for number, key in enumerate(keys) if getattr(key, field) == value)
            raise UnusableOption(
                f"--keys: {source}: {_entry(number, tables[number])}: {field}: another key has the same"
            )
    return keys


def _entry(number: int, table: Any) -> str:
    name = table.get("name") if isinstance(table, dict) else None
    if isinstance(name, str) and name.startswith(SECRET_PREFIX):
        name = None
    return f"keys[{number}] ({beginning(name)})" if isinstance(name, str) else f"keys[{number}]"


def fault(error: ValidationError) -> str:
    """The first fault in one line: the field and the reason, without the value."""
    first = error.errors(include_input=False)[0]
    field = beginning(".".join(str(part) for part in first["loc"]))
    message = {
        "extra_forbidden": "unknown field",
        "missing": "is missing",
        "datetime_type": "must be a date and time with its zone, as in 2030-01-01T00:00:00Z",
        "timezone_aware": "must have a time zone, as in 2030-01-01T00:00:00Z",
    }.get(first["type"], first["msg"])
    if first["type"] == "string_pattern_mismatch":
        message = {
            "sha256": "must be 64 hexadecimal digits, in lower case",
            "name": "must be 1 to 64 of A-Z a-z 0-9 . _ -, and begin with a letter or digit",
        }[field]
    return f"{field}: {message}" if field else message
