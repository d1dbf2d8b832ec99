"""What one API key may use, and what it uses at present. Knows no keys, only their names."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from anytime_server.auth.bucket import Bucket
from anytime_server.errors import InvalidRequest, RateLimited

CONCURRENCY_RETRY_S = 1.0
"""When to ask again where as many requests are under way as may be: an estimate."""
REACHED = "this API key has reached its limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that a key may use; None for no limit."""

    concurrency: int | None = None
    """Requests under way at a time."""
    requests_per_minute: int | None = None
    thinking_tokens_per_minute: int | None = None
    """Tokens of thinking; the whole budget counts until its request is over."""


class Account:
    """One key's."""

    def __init__(
        self,
        name: str,
        limits: Limits | None = None,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = name
        """What logs and metrics call it."""
        self.num_under_way = 0
        self.concurrency: int | None = None
        self.requests: Bucket | None = None
        """Requests that are left, where they are limited."""
        self.thinking_tokens: Bucket | None = None
        """Thinking tokens that are left, where they are limited."""
        self._clock_ns = clock_ns
        self.limit_to(limits or Limits())

    def limit_to(self, limits: Limits) -> None:
        """Put these limits in the place of those so far; what was used stays used."""
        self.concurrency = limits.concurrency
        self.requests = self._changed(self.requests, limits.requests_per_minute)
        self.thinking_tokens = self._changed(self.thinking_tokens, limits.thinking_tokens_per_minute)

    def _changed(self, bucket: Bucket | None, limit: int | None) -> Bucket | None:
        if limit is None:
            return None
        if bucket is None:
            return Bucket(limit, clock_ns=self._clock_ns)
        bucket.change(limit)
        return bucket

    def require_room(self) -> None:
        """Pass if one more session may come in, whatever its budget; it is not counted.

        Raises:
            RateLimited: it may not.
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
        """Pass if so many sessions can ever be let in together.

        Raises:
            InvalidRequest: no waiting would help.
        """
        limits = [self.concurrency, self.requests.limit if self.requests else None]
        most = min((limit for limit in limits if limit is not None), default=num_sessions)
        if num_sessions > most:
            raise InvalidRequest(
                f"{num_sessions} are over what this API key may have at once; the most is {most}", field=field
            )

    def count_request(self) -> None:
        """Count a request that opens no session, and takes nothing of what else is limited.

        Raises:
            RateLimited: it would be over a limit.
        """
        self._require_request()
        if self.requests:
            self.requests.take(1)

    def admit(self, budget_tokens: int) -> Admission:
        """Count one session in, which may think for so many tokens. One that is refused counts in nothing.

        Raises:
            RateLimited: it would be over a limit.
            InvalidRequest: its budget is over the limit of a whole minute, so that no waiting would help.
        """
        self._check_size(budget_tokens, field="budget")
        self.require_room()
        self._set_aside(budget_tokens, field="budget")
        if self.requests:
            self.requests.take(1)
        self.num_under_way += 1
        return Admission(self, budget_tokens)

    def _check_size(self, tokens: int, *, field: str) -> None:
        bucket = self.thinking_tokens
        if bucket and tokens > bucket.limit:
            raise InvalidRequest(
                f"a budget of {tokens} thinking tokens is over what this API key may use in a minute; "
                f"the most is {bucket.limit}",
                field=field,
            )

    def _set_aside(self, tokens: int, *, field: str) -> None:
        bucket = self.thinking_tokens
        if bucket is None:
            return
        if wait_s := bucket.wait_s(tokens):
            raise RateLimited(
                f"{REACHED}: {bucket.limit} thinking tokens per minute, of which {bucket.remaining} are left "
                f"and {tokens} were asked for",
                field=field,
                retry_after_s=wait_s,
            )
        bucket.take(tokens)

    def extend(self, tokens: int) -> None:
        """Set more aside for a session that is counted in.

        Raises:
            RateLimited: it would be over a limit.
            InvalidRequest: it is over the limit of a whole minute.
        """
        self._check_size(tokens, field="tokens")
        self._set_aside(tokens, field="tokens")

    def end(self, unused_tokens: int, *, bucket: Bucket | None) -> None:
        """A session that was counted in is over.

        Args:
            bucket: that its tokens were taken from; there may be another by now.
        """
        self.num_under_way -= 1
        if bucket is not None and bucket is self.thinking_tokens:
            bucket.give_back(unused_tokens)


class Admission:
    """One session that is counted in."""

    def __init__(self, account: Account, budget_tokens: int) -> None:
        self.account = account
        self._bucket = account.thinking_tokens
        self.budget_tokens = budget_tokens
        """Thinking tokens that are set aside for it."""

    def extend(self, tokens: int) -> None:
        """Set more aside.

        Raises:
            RateLimited: it would be over a limit.
            InvalidRequest: it is over the limit of a whole minute.
        """
        self.account.extend(tokens)
        self.budget_tokens += tokens

    def end(self, thinking_tokens: int) -> None:
        """The session is over: give back what it did not use."""
        self.account.end(self.budget_tokens - thinking_tokens, bucket=self._bucket)
