"""The valid API keys and their accounts. Knows nothing of the headers that carry a secret."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from anytime_server.auth.account import Account
from anytime_server.auth.audit import audit
from anytime_server.auth.keys import SECRET_PREFIX, Key, Role, read_file, read_line, sha256
from anytime_server.errors import Forbidden, Unauthorized, UnusableOption

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 1.0
"""Seconds between checks of the key file."""
PIECE_ACCOUNTS = 256
"""Accounts that are changed before other tasks run."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """The keys of one reading of the file."""

    by_hash: dict[str, Key]
    by_name: dict[str, Key]


class Keyring:
    """Finds the account of a secret. While `watch()` runs, the keys follow their file.

    The account of a removed key is kept while it has usage, so that the key does not come back with full
    buckets.
    """

    def __init__(
        self,
        read: Callable[[], list[Key]],
        *,
        path: Path | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        Args:
            read: returns the keys.
            path: file of the keys; None if they cannot change.
        """
        self._read = read
        self._path = path
        self._clock_ns = clock_ns
        self._accounts: dict[str, Account] = {}
        """By name: of the keys that have been used, and of removed keys that have usage."""
        self._file_state = self._stat()  # before reading, so that the next check sees a change meanwhile
        self._keys = _indexed(read())

    @classmethod
    def of(cls, option: str, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> Keyring:
        """The keys of the option `--keys`: a file, or `name:sha256,...`.

        Raises:
            UnusableOption: the option or the file is malformed.
        """
        if not option:
            raise UnusableOption("--keys: is empty: give a file, or name:sha256")
        path = Path(option).expanduser()
        if option.startswith(SECRET_PREFIX) and not os.path.lexists(path):
            raise UnusableOption("--keys: takes a file, or name:sha256, and this looks like a secret itself")
        if ":" in option and not os.path.lexists(path):  # False also for a text that is too long for a path
            return cls(lambda: read_line(option), clock_ns=clock_ns)
        return cls(lambda: read_file(path), path=path, clock_ns=clock_ns)

    @property
    def has_file(self) -> bool:
        """Whether the keys come from a file, and so can change."""
        return self._path is not None

    def account_of(self, secret: bytes | None, *, roles: Set[Role] = frozenset({"user"})) -> Account:
        """The account of a secret.

        Args:
            roles: roles of keys that may do what is requested.

        Raises:
            Unauthorized: the secret is missing or unknown.
            Forbidden: the key is disabled, has expired, or has another role.
        """
        if secret is None:
            raise Unauthorized("an API key is needed, as Authorization: Bearer, x-api-key or api-key")
        # The time of a look-up by hash reveals nothing about the secrets.
        key = self._keys.by_hash.get(sha256(secret))
        if key is None:
            raise Unauthorized("the API key is unknown")
        if key.disabled:
            raise Forbidden(f"the API key {key.name!r} is disabled")
        if key.has_expired(datetime.now(UTC)):
            raise Forbidden(f"the API key {key.name!r} has expired")
        if key.role not in roles:
            needed = " or ".join(repr(role) for role in sorted(roles))
            raise Forbidden(f"the API key {key.name!r} has the role {key.role!r}; this path needs {needed}")
        if (account := self._accounts.get(key.name)) is None:
            account = self._accounts[key.name] = Account(key.name, key, clock_ns=self._clock_ns)
        return account

    async def watch(self) -> None:
        """Follow the file until cancelled; returns at once if there is none."""
        while self.has_file:
            await asyncio.sleep(CHECK_EVERY_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the file again if it has changed. The old keys stay valid until the new ones are read."""
        old, new = self._keys, await asyncio.to_thread(self._read_if_changed)
        if new is None:
            return
        self._keys = new
        async for name, account in _in_pieces(list(self._accounts.items())):
            if (key := new.by_name.get(name)) is not None:
                account.set_limits(key)
            elif not account.has_usage:
                del self._accounts[name]
        await asyncio.to_thread(_log_changes, old.by_name, new.by_name)
        logger.info("the API keys were read again; there are %d", len(new.by_name))

    def invalidate(self) -> None:
        """Read the file at the next check even if it looks unchanged."""
        self._file_state = ()

    def _read_if_changed(self) -> _Keys | None:
        state = self._stat()
        if state == self._file_state:
            return None
        self._file_state = state
        try:
            return _indexed(self._read())
        except Exception as error:  # any: a watch that ends would keep revoked keys valid
            logger.error("the API keys were not read again, and the old keys stay valid: %s", error)
            return None

    def _stat(self) -> tuple[int, ...] | None:
        """A value that changes when the file is written or replaced; None without a file."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ctime_ns, found.st_ino, found.st_size


def _indexed(keys: list[Key]) -> _Keys:
    return _Keys(by_hash={key.sha256: key for key in keys}, by_name={key.name: key for key in keys})


async def _in_pieces(items: Iterable[Item]) -> AsyncIterator[Item]:
    """The items; other tasks run from time to time."""
    for number, item in enumerate(items, start=1):
        if number % PIECE_ACCOUNTS == 0:
            await asyncio.sleep(0)
        yield item


def _log_changes(old: dict[str, Key], new: dict[str, Key]) -> None:
    """A line in the audit log for each key that has changed. Runs in a thread: there may be many."""
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            audit.info("API key removed", extra={"key": name})
        elif name not in old:
            audit.info("API key added", extra={"key": name})
        elif new[name] != old[name]:
            audit.info("API key changed", extra={"key": name, "changes": _changes(old[name], new[name])})


def _changes(old: Key, new: Key) -> str:
    """The fields that differ; of the secret only that it does."""
    fields = [field for field in Key.model_fields if getattr(new, field) != getattr(old, field)]
    return ", ".join(
        "another secret" if field == "sha256" else f"{field}: {getattr(old, field)} -> {getattr(new, field)}"
        for field in fields
    )
