"""Limits and usage of one API key. Knows the key's name, not its secret."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from anytime_server.auth.bucket import Bucket
from anytime_server.errors import InvalidRequest, RateLimited

CONCURRENCY_RETRY_S = 1.0
"""Estimated seconds until one of the concurrent requests ends."""
REACHED = "this API key has reached its limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a key; None for no limit."""

    concurrency: int | None = None
    """Concurrent requests."""
    requests_per_minute: int | None = None
    thinking_tokens_per_minute: int | None = None
    """Thinking tokens; a running request counts with its whole budget."""


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
        self.concurrency: int | None = None
        """Limit of `num_under_way`."""
        self.requests: Bucket | None = None
        """Remaining requests, if they are limited."""
        self.thinking_tokens: Bucket | None = None
        """Remaining thinking tokens, if they are limited."""
        self._clock_ns = clock_ns
        self.set_limits(limits or Limits())

    def set_limits(self, limits: Limits) -> None:
        """Replace the limits; the usage stays."""
        self.concurrency = limits.concurrency
        self.requests = self._changed(self.requests, limits.requests_per_minute)
        self.thinking_tokens = self._changed(self.thinking_tokens, limits.thinking_tokens_per_minute)

    def _changed(self, bucket: Bucket | None, limit: int | None) -> Bucket | None:
        if limit is None:
            return None
        if bucket is None:
            return Bucket(limit, clock_ns=self._clock_ns)
        bucket.set_limit(limit)
        return bucket

    def require_room(self) -> None:
        """Check that one more session with a budget of 0 would be admitted. Counts nothing.

        Raises:
            RateLimited: a limit is reached.
        """
        if self.concurrency is not None and self.num_under_way >= self.concurrency:
            raise RateLimited(
                f"{REACHED}: {self.concurrency} requests at a time", retry_after_s=CONCURRENCY_RETRY_S
            )
        self._require_request()

    def _require_request(self) -> None:
        if self.requests and (wait_s := self.requests.wait_s(1)):
            raise RateLimited(f"{REACHED}: {self.requests.limit} requests per minute", retry_after_s=wait_s)

    def require_size(self, num_sessions: int, *, field: str) -> None:
        """Check that `num_sessions` sessions fit the limits together. Counts nothing.

        Args:
            field: request field to name in the error.

        Raises:
            InvalidRequest: they never fit, so waiting would not help.
        """
        limits = [self.concurrency, self.requests.limit if self.requests else None]
        most = min((limit for limit in limits if limit is not None), default=num_sessions)
        if num_sessions > most:
            raise InvalidRequest(
                f"{num_sessions} is more than this API key may have at once; the most is {most}", field=field
            )

    def count_request(self) -> None:
        """Count a request that opens no session.

        Raises:
            RateLimited: the limit of requests is reached.
        """
        self._require_request()
        if self.requests:
            self.requests.take(1)

    def admit(self, budget_tokens: int) -> Admission:
        """Count a session and reserve its thinking budget. A refused session counts nowhere.

        Raises:
            RateLimited: a limit is reached.
            InvalidRequest: the budget exceeds the limit of a whole minute, so waiting would not help.
        """
        self._check_size(budget_tokens, field="budget")
        self.require_room()
        self._reserve(budget_tokens, field="budget")
        if self.requests:
            self.requests.take(1)
        self.num_under_way += 1
        return Admission(self, budget_tokens)

    def _check_size(self, tokens: int, *, field: str) -> None:
        bucket = self.thinking_tokens
        if bucket and tokens > bucket.limit:
            raise InvalidRequest(
                f"a budget of {tokens} thinking tokens is more than this API key may use in a minute; "
                f"the most is {bucket.limit}",
                field=field,
            )

    def _reserve(self, tokens: int, *, field: str) -> None:
        bucket = self.thinking_tokens
        if bucket is None:
            return
        if wait_s := bucket.wait_s(tokens):
            raise RateLimited(
                f"{REACHED}: {bucket.limit} thinking tokens per minute; {bucket.remaining} remain, "
                f"and the request needs {tokens}",
                field=field,
                retry_after_s=wait_s,
            )
        bucket.take(tokens)

    def extend(self, tokens: int) -> None:
        """Reserve more thinking tokens for an admitted session.

        Raises:
            RateLimited: the limit of thinking tokens is reached.
            InvalidRequest: the tokens exceed the limit of a whole minute.
        """
        self._check_size(tokens, field="tokens")
        self._reserve(tokens, field="tokens")

    def end(self, unused_tokens: int, *, bucket: Bucket | None) -> None:
        """Count the end of an admitted session and refund its unused tokens.

        Args:
            bucket: the bucket that its tokens were taken from, which may have been replaced since.
        """
        self.num_under_way -= 1
        if bucket is not None and bucket is self.thinking_tokens:
            bucket.refund(unused_tokens)


class Admission:
    """The admission of one session."""

    def __init__(self, account: Account, budget_tokens: int) -> None:
        self.account = account
        self._bucket = account.thinking_tokens
        self.budget_tokens = budget_tokens
        """Reserved thinking tokens."""

    def extend(self, tokens: int) -> None:
        """Reserve more thinking tokens.

        Raises:
            RateLimited: the limit of thinking tokens is reached.
            InvalidRequest: the tokens exceed the limit of a whole minute.
        """
        self.account.extend(tokens)
        self.budget_tokens += tokens

    def end(self, thinking_tokens: int) -> None:
        """End the session and refund the tokens that it did not use."""
        self.account.end(self.budget_tokens - thinking_tokens, bucket=self._bucket)
