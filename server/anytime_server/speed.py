"""How fast answers come, as measured: what a deadline is held against."""

from __future__ import annotations

import time
from collections import deque

RECENT = 64
"""Sessions that are remembered: enough for a tail, few enough to follow a change of load."""


class SpeedMeter:
    """Remembers what the latest sessions took and predicts what the next answer will.

    Everything is measured where the session runs, so that queueing, scheduling and the
    event loop are in the figures. Nothing is assumed: the service runs a few sessions of
    its own before it takes work.
    """

    def __init__(self) -> None:
        self._switch_s: deque[float] = deque(maxlen=RECENT)
        self._inter_token_s: deque[float] = deque(maxlen=RECENT)
        self._answer_tokens: deque[int] = deque(maxlen=RECENT)
        self._estimates: dict[int, float] = {}

    def pace(self) -> Pace:
        """A stop-watch for one request's tokens, reporting here."""
        return Pace(self)

    def record_decoding(self, *, num_tokens: int, seconds: float) -> None:
        """`num_tokens` followed one another over `seconds`."""
        if num_tokens > 0:
            self._inter_token_s.append(seconds / num_tokens)
            self._estimates.clear()

    def record_switch(self, *, seconds: float) -> None:
        """An answer's first token came `seconds` after the thinking before it was cut."""
        self._switch_s.append(seconds)
        self._estimates.clear()

    def record_answer(self, *, answer_tokens: int) -> None:
        """An answer had `answer_tokens`."""
        self._answer_tokens.append(answer_tokens)
        self._estimates.clear()

    @property
    def inter_token_s(self) -> float:
        """Median time from one token to the next; 0 before any was seen."""
        return _quantile(self._inter_token_s, 0.5)

    def answer_cost_s(self, max_tokens: int) -> float:
        """Seconds from a cut to the last token of the answer, at the slow end of what was seen.

        Args:
            max_tokens: the most tokens that this answer may have; shorter ones are expected
                only as far as recent answers were.
        """
        num_tokens = min(max_tokens, max(self._answer_tokens, default=max_tokens))
        if (estimate := self._estimates.get(num_tokens)) is None:
            estimate = _quantile(self._switch_s, 0.98) + num_tokens * _quantile(self._inter_token_s, 0.95)
            self._estimates[num_tokens] = estimate
        return estimate


class Pace:
    """Times the tokens of one request, from the first to arrive to the last."""

    def __init__(self, meter: SpeedMeter) -> None:
        self._meter = meter
        self._num_tokens = 0
        self.first_token_at: float | None = None
        """`time.monotonic()` of the first token's arrival."""
        self.last_token_at: float | None = None
        """The same of the latest token."""

    def tick(self, num_tokens: int) -> None:
        """`num_tokens` have arrived."""
        if num_tokens == 0:
            return
        self.last_token_at = time.monotonic()
        if self.first_token_at is None:
            self.first_token_at = self.last_token_at
        else:
            self._num_tokens += num_tokens

    def report(self) -> None:
        """No more tokens will come."""
        if self.first_token_at is not None and self.last_token_at is not None:
            self._meter.record_decoding(
                num_tokens=self._num_tokens, seconds=self.last_token_at - self.first_token_at
            )


def _quantile(values: deque[float], share: float) -> float:
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
