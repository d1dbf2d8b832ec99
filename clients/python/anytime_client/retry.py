"""The rules of retries, and the deadline of a session. Does not wait itself."""

from __future__ import annotations

import math
import random
import time

from anytime_client.errors import ClientError, RequestRefused, ServerUnreachable

RETRIED_STATUSES = frozenset({429, 503})
INITIAL_BACKOFF_S = 0.25
MAX_BACKOFF_S = 8.0
MAX_RETRY_AFTER_S = 60.0
"""A request with a longer `Retry-After` is not sent again."""
TIMER_TOLERANCE_S = 0.002
"""Event loops may fire a timer this much too early."""


class Retries:
    """Counts the retries of one request. Only requests that cannot have sampled anything are retried."""

    def __init__(self, max_retries: int, deadline: Deadline) -> None:
        self._max_retries = max_retries
        self._deadline = deadline
        self._num_made = 0

    def delay_s(self, error: ClientError) -> float:
        """Seconds to wait before the request is sent again.

        Raises:
            ClientError: `error` itself, if the request must not be sent again.
        """
        match error:
            case ServerUnreachable():
                retry_after_s = None
            case RequestRefused() if error.status in RETRIED_STATUSES:
                retry_after_s = error.retry_after_s
            case _:
                raise error
        if self._num_made >= self._max_retries or (retry_after_s or 0.0) > MAX_RETRY_AFTER_S:
            raise error
        backoff_s = min(INITIAL_BACKOFF_S * 2**self._num_made, MAX_BACKOFF_S)
        self._num_made += 1
        # Jitter keeps clients that were refused together from returning together.
        delay_s = backoff_s * random.uniform(0.5, 1.0) if retry_after_s is None else retry_after_s
        if delay_s >= self._deadline.remaining_s:  # the refusal is more informative than a time-out
            raise error
        return delay_s


class Deadline:
    """A point in time, `after_s` seconds from now, or none."""

    def __init__(self, after_s: float | None) -> None:
        self._at = math.inf if after_s is None else time.monotonic() + after_s

    @property
    def is_set(self) -> bool:
        return self._at < math.inf

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; infinite if there is none."""
        return max(self._at - time.monotonic(), 0.0)

    @property
    def timeout_s(self) -> float | None:
        """The same, as `asyncio.timeout` takes it."""
        return self.remaining_s if self.is_set else None

    @property
    def has_passed(self) -> bool:
        return self.remaining_s <= TIMER_TOLERANCE_S
