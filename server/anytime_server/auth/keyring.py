"""The valid API keys and their accounts. Knows nothing of the headers that carry a secret."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anytime_server.auth.account import Account
from anytime_server.auth.keys import SECRET_PREFIX, Key, read_file, read_line, sha256
from anytime_server.errors import Forbidden, Unauthorized, UnusableOption

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 1.0
"""Seconds between checks of the key file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    key: Key
    account: Account


class Keyring:
    """Finds the account of a secret. While `watch()` runs, the keys follow their file."""

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
        self._entries: dict[str, _Entry] = {}
        """By the hash of the secret."""
        self._file_state = self._stat()  # before reading, so that the next check sees a change meanwhile
        self._replace(read())

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

    def account_of(self, secret: bytes | None) -> Account:
        """The account of a secret.

        Raises:
            Unauthorized: the secret is missing or unknown.
            Forbidden: the key is disabled or has expired.
        """
        if secret is None:
            raise Unauthorized("an API key is needed, as Authorization: Bearer, x-api-key or api-key")
        # The time of a look-up by hash reveals nothing about the secrets.
        entry = self._entries.get(sha256(secret))
        if entry is None:
            raise Unauthorized("the API key is unknown")
        if entry.key.disabled:
            raise Forbidden(f"the API key {entry.key.name!r} is disabled")
        if entry.key.has_expired(datetime.now(UTC)):
            raise Forbidden(f"the API key {entry.key.name!r} has expired")
        return entry.account

    async def watch(self) -> None:
        """Keep the keys up to date until cancelled; returns at once if they have no file."""
        while self.has_file:
            await asyncio.sleep(CHECK_EVERY_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the file again if it has changed. The old keys stay valid until the new ones are read."""
        keys = await asyncio.to_thread(self._read_if_changed)
        if keys is not None:
            self._replace(keys)
            logger.info("the API keys were read again; there are %d", len(keys))

    def invalidate(self) -> None:
        """Read the file at the next check even if it looks unchanged."""
        self._file_state = ()

    def _read_if_changed(self) -> list[Key] | None:
        state = self._stat()
        if state == self._file_state:
            return None
        self._file_state = state
        try:
            return self._read()
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

    def _replace(self, keys: list[Key]) -> None:
        """Replace all keys. A name that stays keeps its account, with its usage."""
        accounts = {entry.account.name: entry.account for entry in self._entries.values()}
        self._entries = {key.sha256: _Entry(key=key, account=self._account(key, accounts)) for key in keys}

    def _account(self, key: Key, accounts: dict[str, Account]) -> Account:
        account = accounts.get(key.name) or Account(key.name, clock_ns=self._clock_ns)
        account.set_limits(key.limits)
        return account
