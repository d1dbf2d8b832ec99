"""Counts refused API keys: a limit for each address, and lines in the audit log.

The secret of a key is 256 random bits, which no number of guesses finds. The limit therefore never refuses a
valid key: behind a proxy, one client's wrong keys would otherwise lock out all clients.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from anytime_server.auth.address import limited_address
from anytime_server.auth.audit import audit
from anytime_server.auth.bucket import Bucket
from anytime_server.errors import AnytimeError, RateLimited, Unauthorized

WRONG_KEYS_PER_MINUTE = 60
"""Requests with unknown keys from one address that get 401; more of them get 429."""
MAX_ADDRESSES = 4096
"""Addresses that are remembered; the address with the oldest refusal is forgotten first."""
LINES_PER_MINUTE = 60
"""Refused keys that are logged."""


class Refusals:
    """Counts and logs refused keys. Knows no secrets."""

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._lines = Bucket(LINES_PER_MINUTE, clock_ns=clock_ns)
        self._num_left_out = 0
        self._by_address: OrderedDict[str, Bucket] = OrderedDict()

    def count(self, error: AnytimeError, *, address: str) -> AnytimeError:
        """Count a key that was refused with `error`.

        Returns:
            The error to answer with: `error`, or 429 if the address has sent too many unknown keys.
        """
        if isinstance(error, Unauthorized):
            bucket = self._bucket(address)
            if wait_s := bucket.wait_s(1):
                self._num_left_out += 1
                return RateLimited("too many unknown API keys from this address", retry_after_s=wait_s)
            bucket.take(1)
        self._log(error, address)
        return error

    def _log(self, error: AnytimeError, address: str) -> None:
        if self._lines.wait_s(1):
            self._num_left_out += 1
            return
        self._lines.take(1)
        left_out, self._num_left_out = self._num_left_out or None, 0
        fields = {"reason": str(error), "client": address or None, "left_out": left_out}
        audit.info("API key refused", extra=fields)

    def _bucket(self, address: str) -> Bucket:
        counted = limited_address(address)
        bucket = self._by_address.pop(counted, None)
        if bucket is None:
            bucket = Bucket(WRONG_KEYS_PER_MINUTE, clock_ns=self._clock_ns)
            if len(self._by_address) >= MAX_ADDRESSES:
                self._by_address.popitem(last=False)
        self._by_address[counted] = bucket
        return bucket
