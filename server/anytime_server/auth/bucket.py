"""A token bucket: a limit per minute, refilled continuously."""

from __future__ import annotations

from collections.abc import Callable

MINUTE_NS = 60_000_000_000


class Bucket:
    """Holds `limit` tokens and is refilled by `limit` tokens per minute.

    In any span of t seconds, at most `limit` x (1 + t / 60) tokens are taken, net of refunds. The bucket
    counts integer units of 1/`MINUTE_NS` tokens, so it never rounds.
    """

    def __init__(self, limit: int, *, clock_ns: Callable[[], int]) -> None:
        """
        Args:
            limit: capacity, and refill per minute. The bucket starts full.
        """
        self.limit = limit
        self._clock_ns = clock_ns
        self._units = limit * MINUTE_NS
        self._at_ns = clock_ns()

    def set_limit(self, limit: int) -> None:
        """Set another limit; the content stays, up to the new capacity."""
        units = self._refilled()
        self.limit = limit
        self._units = min(units, limit * MINUTE_NS)

    @property
    def remaining(self) -> int:
        """Whole tokens that can be taken now."""
        return self._refilled() // MINUTE_NS

    @property
    def full_in_s(self) -> float:
        """Seconds until the bucket is full if nothing is taken."""
        return self.wait_s(self.limit)

    def wait_s(self, amount: int) -> float:
        """Seconds until `amount` tokens can be taken; 0 if they can be taken now."""
        missing = amount * MINUTE_NS - self._refilled()
        return max(0, -(-missing // self.limit)) / 1e9

    def take(self, amount: int) -> None:
        """Take `amount` tokens, which must be available."""
        self._units = self._refilled() - amount * MINUTE_NS
        assert self._units >= 0

    def refund(self, amount: int) -> None:
        """Refund tokens, up to the capacity."""
        self._units = self._refilled() + amount * MINUTE_NS

    def _refilled(self) -> int:
        now_ns = self._clock_ns()
        refill = (now_ns - self._at_ns) * self.limit
        self._units = min(self._units + refill, self.limit * MINUTE_NS)
        self._at_ns = now_ns
        return self._units
