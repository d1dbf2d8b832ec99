"""A token bucket: a limit for each minute, refilled without a break. Knows of nothing that it counts."""

from __future__ import annotations

from collections.abc import Callable

MINUTE_NS = 60_000_000_000


class Bucket:
    """Holds a minute's worth and is refilled by as much in every minute.

    In any span of t seconds no more than `limit` x (1 + t / 60) is taken out, less what is given back.
    Counted in whole units of 1/`MINUTE_NS`, so that nothing is ever rounded.
    """

    def __init__(self, limit: int, *, clock_ns: Callable[[], int]) -> None:
        """
        Args:
            limit: what it is refilled by in a minute, and holds at the most. It is full at first.
        """
        self.limit = limit
        self._clock_ns = clock_ns
        self._units = limit * MINUTE_NS
        self._at_ns = clock_ns()

    def change(self, limit: int) -> None:
        """Refill by another limit from now on; what is in it stays, as far as it holds that much."""
        units = self._refilled()
        self.limit = limit
        self._units = min(units, limit * MINUTE_NS)

    @property
    def remaining(self) -> int:
        """What could be taken now, in whole numbers."""
        return self._refilled() // MINUTE_NS

    @property
    def full_in_s(self) -> float:
        """Seconds until it is full if nothing is taken."""
        return self.wait_s(self.limit)

    def wait_s(self, amount: int) -> float:
        """Seconds until so much can be taken; 0 if it can be now."""
        missing = amount * MINUTE_NS - self._refilled()
        return max(0, -(-missing // self.limit)) / 1e9

    def take(self, amount: int) -> None:
        """Take so much, which must be there."""
        self._units = self._refilled() - amount * MINUTE_NS
        assert self._units >= 0

    def give_back(self, amount: int) -> None:
        """Put back what was taken and not used; what it cannot hold is lost."""
        self._units = self._refilled() + amount * MINUTE_NS

    def _refilled(self) -> int:
        now_ns = self._clock_ns()
        refill = (now_ns - self._at_ns) * self.limit
        self._units = min(self._units + refill, self.limit * MINUTE_NS)
        self._at_ns = now_ns
        return self._units
