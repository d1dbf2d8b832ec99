"""The keys that are known at present, and the account of each. Knows nothing of how a secret comes."""

from __future__ import annotations

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

LOOK_EVERY_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    key: Key
    account: Account


class Keyring:
    """Finds the account of a secret; reads its file again when that has changed."""

    def __init__(
        self,
        read: Callable[[], list[Key]],
        *,
        path: Path | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        Args:
            read: gives the keys.
            path: the file that they are in; they are read again when it has changed.
        """
        self._read = read
        self._path = path
        self._clock_ns = clock_ns
        self._known: dict[str, _Known] = {}
        self._state = self._file_state()  # before it is read: what is written meanwhile is seen later
        self._look_at_ns = clock_ns() + LOOK_EVERY_NS
        self._take_over(read())

    @classmethod
    def of(cls, option: str, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> Keyring:
        """What the option says: a file, or `name:sha256,...`.

        Raises:
            UnusableOption: what is wrong with it.
        """
        if not option:
            raise UnusableOption("--keys: is empty: give a file, or name:sha256")
        path = Path(option).expanduser()
        if option.startswith(SECRET_PREFIX) and not os.path.lexists(path):
            raise UnusableOption("--keys: takes a file, or name:sha256, and this looks like a secret itself")
        if ":" in option and not os.path.lexists(path):  # False also for what is too long for a path
            return cls(lambda: read_line(option), clock_ns=clock_ns)
        return cls(lambda: read_file(path), path=path, clock_ns=clock_ns)

    @property
    def has_file(self) -> bool:
        """Whether the keys can change."""
        return self._path is not None

    def expire(self) -> None:
        """Read the file again before the next request, whether it looks changed or not."""
        self._state = ()
        self._look_at_ns = self._clock_ns()

    def account_of(self, secret: bytes | None) -> Account:
        """Whose secret it is.

        Raises:
            Unauthorized: there is none, or it is not known.
            Forbidden: its key is disabled, or has expired.
        """
        if self._path is not None and self._clock_ns() >= self._look_at_ns:
            self._look_again()
        if secret is None:
            raise Unauthorized("an API key is needed, as Authorization: Bearer, x-api-key or api-key")
        # By its hash: how long the search takes tells of the hash of what was sent, and of no secret.
        known = self._known.get(sha256(secret))
        if known is None:
            raise Unauthorized("the API key is not known here")
        if known.key.disabled:
            raise Forbidden(f"the API key {known.key.name!r} is disabled")
        if known.key.has_expired(datetime.now(UTC)):
            raise Forbidden(f"the API key {known.key.name!r} has expired")
        return known.account

    def _look_again(self) -> None:
        self._look_at_ns = self._clock_ns() + LOOK_EVERY_NS
        state = self._file_state()
        if state == self._state:
            return
        self._state = state
        try:
            self._take_over(self._read())
        except UnusableOption as error:
            logger.error("the keys were not read again, those so far stay: %s", error)
        else:
            logger.info("the keys were read again; there are %d", len(self._known))

    def _file_state(self) -> tuple[int, ...] | None:
        """Differs once the file was written or another was put in its place; None where there is none."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ctime_ns, found.st_ino, found.st_size

    def _take_over(self, keys: list[Key]) -> None:
        """Know these from now on. Who stays keeps the account, and what was used of it."""
        accounts = {known.account.name: known.account for known in self._known.values()}
        self._known = {key.sha256: _Known(key=key, account=self._account(key, accounts)) for key in keys}

    def _account(self, key: Key, accounts: dict[str, Account]) -> Account:
        account = accounts.get(key.name) or Account(key.name, clock_ns=self._clock_ns)
        account.limit_to(key.limits)
        return account
