"""A token bucket: a limit per period, refilled continuously."""

from __future__ import annotations

from collections.abc import Callable

SECOND_NS = 1_000_000_000


class Bucket:
    """Holds `limit` tokens and is refilled by `limit` tokens per period.

    In any span of t seconds, at most `limit` x (1 + t / `period_s`) tokens are taken, net of refunds. The
    refill pays back tokens that are charged afterwards before others can be taken. The bucket counts integer
    units of one token per nanosecond of the period, so it never rounds.
    """

    def __init__(self, limit: int, *, period_s: int = 60, clock_ns: Callable[[], int]) -> None:
        """
        Args:
            limit: capacity, and refill per period. The bucket starts full.
            period_s: seconds in which an empty bucket fills.
        """
        self.limit = limit
        self.period_s = period_s
        self._token = period_s * SECOND_NS
        """Units of one token."""
        self._clock_ns = clock_ns
        self._units = limit * self._token
        self._at_ns = clock_ns()

    def set_limit(self, limit: int) -> None:
        """Set another limit; the content stays, up to the new capacity."""
        units = self._refilled()
        self.limit = limit
        self._units = min(units, limit * self._token)

    @property
    def remaining(self) -> int:
        """Whole tokens that can be taken now."""
        return max(0, self._refilled() // self._token)

    @property
    def full_in_s(self) -> float:
        """Seconds until the bucket is full if nothing is taken."""
        return self.wait_s(self.limit)

    def wait_s(self, amount: int) -> float:
        """Seconds until `amount` tokens can be taken; 0 if they can be taken now."""
        missing = amount * self._token - self._refilled()
        return max(0, -(-missing // self.limit)) / SECOND_NS

    def take(self, amount: int) -> None:
        """Take `amount` tokens, which must be available."""
        self._units = self._refilled() - amount * self._token
        assert self._units >= 0

    def charge(self, amount: int) -> None:
        """Take tokens that were used already, also if they are not available."""
        self._units = self._refilled() - amount * self._token

    def refund(self, amount: int) -> None:
        """Refund tokens, up to the capacity."""
        self._units = self._refilled() + amount * self._token

    def _refilled(self) -> int:
        now_ns = self._clock_ns()
        refill = (now_ns - self._at_ns) * self.limit
        self._units = min(self._units + refill, self.limit * self._token)
        self._at_ns = now_ns
        return self._units
