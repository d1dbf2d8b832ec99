"""When to ask again, and after how long; and how long all of it may take. Does no waiting itself."""

from __future__ import annotations

import math
import random
import time

from anytime_client.errors import ClientError, RequestRefused, ServerUnreachable

WORTH_A_RETRY = frozenset({429, 503})
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0
"""A server that asks for more patience is not asked again."""
CLOCK_GRAIN_S = 0.002
"""Timers of event loops may ring so much too early."""


class Retries:
    """The retries of one request: only of what cannot have sampled anything."""

    def __init__(self, most: int, deadline: Deadline) -> None:
        self._most = most
        self._deadline = deadline
        self._num_made = 0

    def pause_s(self, error: ClientError) -> float:
        """Seconds to wait before the request is sent again.

        Raises:
            ClientError: the error given, if it is not to be.
        """
        match error:
            case ServerUnreachable():
                asked_for_s = None
            case RequestRefused() if error.status in WORTH_A_RETRY:
                asked_for_s = error.retry_after_s
            case _:
                raise error
        if self._num_made >= self._most or (asked_for_s or 0.0) > LONGEST_RETRY_AFTER_S:
            raise error
        back_off_s = min(FIRST_PAUSE_S * 2**self._num_made, LONGEST_PAUSE_S)
        self._num_made += 1
        # With jitter, so that many clients that were refused together do not come back together.
        pause_s = back_off_s * random.uniform(0.5, 1.0) if asked_for_s is None else asked_for_s
        if pause_s >= self._deadline.left_s:  # it tells more than that the time is over
            raise error
        return pause_s


class Deadline:
    """A moment by which something must have happened, or none."""

    def __init__(self, after_s: float | None) -> None:
        self._at = math.inf if after_s is None else time.monotonic() + after_s

    @property
    def is_set(self) -> bool:
        return self._at < math.inf

    @property
    def left_s(self) -> float:
        """Seconds until then; infinite if there is none."""
        return max(self._at - time.monotonic(), 0.0)

    @property
    def has_passed(self) -> bool:
        return self.left_s <= CLOCK_GRAIN_S
