"""API keys as they are written in a TOML file or an option. Knows the hashes of secrets, not the secrets.

A secret is 256 random bits, so one round of SHA-256 is enough: slow hashes protect what can be guessed.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from anytime_server.auth.account import Limits
from anytime_server.errors import UnusableOption

SECRET_PREFIX = "any-"
"""Makes secrets recognisable for people and for programs that search for leaked secrets."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AtLeastOne = Annotated[int, Field(ge=1)]


def sha256(secret: bytes) -> str:
    """The hash that a key file has instead of the secret."""
    return hashlib.sha256(secret).hexdigest()


class Key(BaseModel):
    """One API key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    name: Name
    """Name of the key in logs and metrics."""
    sha256: Sha256
    """SHA-256 of the secret, in hexadecimal."""
    concurrency: AtLeastOne | None = None
    """Maximum number of concurrent requests."""
    requests_per_minute: AtLeastOne | None = None
    """Maximum number of requests per minute."""
    thinking_tokens_per_minute: AtLeastOne | None = None
    """Maximum number of thinking tokens per minute; a running request counts with its whole budget."""
    disabled: bool = False
    """Whether the key is refused."""
    expires: AwareDatetime | None = None
    """Time from which the key is refused."""

    @property
    def limits(self) -> Limits:
        return Limits(
            concurrency=self.concurrency,
            requests_per_minute=self.requests_per_minute,
            thinking_tokens_per_minute=self.thinking_tokens_per_minute,
        )

    def has_expired(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires


def read_file(path: Path) -> list[Key]:
    """The keys of a TOML file, each a table `[[keys]]`.

    Raises:
        UnusableOption: the file cannot be read, is malformed or has no keys; names the file, key and field.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableOption(f"--keys: {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnusableOption(f"--keys: {path}: {error}") from error
    tables = content.pop("keys", [])
    if content:
        raise UnusableOption(f"--keys: {path}: {next(iter(content))}: unknown; keys are tables [[keys]]")
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
    return f"keys[{number}] ({name})" if isinstance(name, str) else f"keys[{number}]"


def fault(error: ValidationError) -> str:
    """The first fault in one line: the field and the reason, without the value."""
    first = error.errors(include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = {
        "extra_forbidden": "unknown field",
        "missing": "is missing",
        "timezone_aware": "must have a time zone, as in 2030-01-01T00:00:00Z",
    }.get(first["type"], first["msg"])
    if first["type"] == "string_pattern_mismatch":
        message = {
            "sha256": "must be 64 hexadecimal digits, in lower case",
            "name": "must be 1 to 64 of A-Z a-z 0-9 . _ -, and begin with a letter or digit",
        }[field]
    return f"{field}: {message}" if field else message
