"""Limits and usage of one API key. Knows the key's name, not its secret."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from anytime_server.auth.bucket import Bucket
from anytime_server.auth.limits import QUOTAS, Cost, Limits, Quota
from anytime_server.errors import InvalidRequest, RateLimited

CONCURRENCY_RETRY_S = 1.0
"""Estimated seconds until one of the concurrent requests ends."""
REACHED = "this API key has reached its limit"


class Account:
    """One API key's usage and limits."""

    def __init__(
        self,
        name: str,
        limits: Limits | None = None,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = name
        """Name of the key in logs and metrics."""
        self.num_under_way = 0
        """Admitted sessions that have not ended."""
        self._clock_ns = clock_ns
        self._buckets: dict[Quota, Bucket] = {}
        """Also those of limits that were removed, which do not apply."""
        self.set_limits(limits or Limits())

    def set_limits(self, limits: Limits) -> None:
        """Replace the limits; the usage stays."""
        self.limits = limits
        for quota in QUOTAS:
            if (limit := getattr(limits, quota.name)) is None:
                continue
            if (bucket := self._buckets.get(quota)) is None:
                self._buckets[quota] = Bucket(limit, period_s=quota.period_s, clock_ns=self._clock_ns)
            else:
                bucket.set_limit(limit)

    @property
    def quotas(self) -> dict[Quota, Bucket]:
        """The limits over a period that apply, with their remaining amounts."""
        limits, buckets = self.limits, self._buckets
        return {quota: buckets[quota] for quota in QUOTAS if getattr(limits, quota.name) is not None}

    @property
    def has_usage(self) -> bool:
        """Whether anything is under way, or any bucket is not full."""
        return self.num_under_way > 0 or any(bucket.full_in_s for bucket in self._buckets.values())

    def require_room(self, num_sessions: int = 1) -> None:
        """Check that sessions that sample nothing would be admitted. Counts nothing.

        Raises:
            RateLimited: a limit is reached.
        """
        limit = self.limits.concurrency
        if limit is not None and self.num_under_way + num_sessions > limit:
            raise RateLimited(f"{REACHED}: {limit} requests at a time", retry_after_s=CONCURRENCY_RETRY_S)
        self._require(Cost(requests=num_sessions, thinking_tokens=0, tokens=0))

    def require_size(self, num_sessions: int, *, field: str) -> None:
        """Check that `num_sessions` sessions fit the limits together. Counts nothing.

        Args:
            field: request field to name in the error.

        Raises:
            InvalidRequest: they never fit, so waiting would not help.
        """
        limits = [bucket.limit for quota, bucket in self.quotas.items() if quota.unit == "requests"]
        if self.limits.concurrency is not None:
            limits.append(self.limits.concurrency)
        most = min(limits, default=num_sessions)
        if num_sessions > most:
            raise InvalidRequest(
                f"{num_sessions} is more than this API key may have at once; the most is {most}", field=field
            )

    def count_request(self) -> None:
        """Count a request that opens no session.

        Raises:
            RateLimited: the limit of requests is reached.
        """
        self._reserve(Cost(thinking_tokens=0, tokens=0))

    def admit(self, most: Cost, *, num_sessions: int = 1) -> list[Admission]:
        """Count sessions and reserve the most that each may cost: all of them, or none.

        Raises:
            RateLimited: a limit is reached.
            InvalidRequest: the tokens exceed the limit of a whole period, so waiting would not help.
        """
        together = most.times(num_sessions)
        self._require_possible(together, field="budget")
        self.require_room(num_sessions)
        self._reserve(together, field="budget")
        self.num_under_way += num_sessions
        return [Admission(self, most) for _ in range(num_sessions)]

    def extend(self, more: Cost) -> None:
        """Reserve more for an admitted session.

        Raises:
            RateLimited: a limit of tokens is reached.
            InvalidRequest: the tokens exceed the limit of a whole period.
        """
        self._require_possible(more, field="tokens")
        self._reserve(more, field="tokens")

    def _require_possible(self, cost: Cost, *, field: str) -> None:
        for quota, bucket in self.quotas.items():
            amount = cost.of(quota.unit)
            if quota.unit == "requests" or amount <= bucket.limit:
                continue
            request = (
                f"a budget of {amount} thinking tokens"
                if quota.unit == "thinking_tokens"
                else f"a request that may sample {amount} tokens"
            )
            raise InvalidRequest(
                f"{request} is more than this API key may use in a {quota.period}; "
                f"the most is {bucket.limit}",
                field=field,
            )

    def _require(self, cost: Cost, *, field: str | None = None) -> None:
        """Check that the cost can be taken from all buckets; the error names the longest wait."""
        waits = {quota: bucket.wait_s(cost.of(quota.unit)) for quota, bucket in self.quotas.items()}
        quota = max(waits, key=lambda quota: waits[quota], default=None)
        if quota is None or not waits[quota]:
            return
        bucket, amount = self._buckets[quota], cost.of(quota.unit)
        reason = f"{REACHED}: {bucket.limit} {quota.noun} per {quota.period}"
        if quota.unit == "requests":
            field = None
        else:
            left = f"{bucket.remaining} remain, and the request needs {amount}"
            reason += f"; {left}" if amount else "; more were used"
        raise RateLimited(reason, field=field, retry_after_s=waits[quota])

    def _reserve(self, cost: Cost, *, field: str | None = None) -> None:
        self._require(cost, field=field)
        for quota, bucket in self.quotas.items():
            bucket.take(cost.of(quota.unit))


class Admission:
    """The admission of one session."""

    def __init__(self, account: Account, most: Cost) -> None:
        """
        Args:
            most: the most that the session may cost, already reserved.
        """
        self.account = account
        self.reserved = most
        """The most that the session may cost, with later extensions."""
        self._taken = Counter[tuple[Quota, Bucket]]()
        self._note(most)

    def _note(self, cost: Cost) -> None:
        for quota, bucket in self.account.quotas.items():
            self._taken[quota, bucket] += cost.of(quota.unit)

    def extend(self, more: Cost) -> None:
        """Reserve more.

        Raises:
            RateLimited: a limit of tokens is reached.
            InvalidRequest: the tokens exceed the limit of a whole period.
        """
        self.account.extend(more)
        self.reserved += more
        self._note(more)

    def end(self, cost: Cost) -> None:
        """End the session: refund what it did not use, or charge what it used beyond what was reserved.

        A bucket gets back no more than it gave: limits may have been added while the session ran.
        """
        self.account.num_under_way -= 1
        for (quota, bucket), taken in self._taken.items():
            unused = self.reserved.of(quota.unit) - cost.of(quota.unit)
            if unused >= 0:
                bucket.refund(max(0, min(taken, unused)))
            elif taken:
                bucket.charge(-unused)
