"""Latency estimates from recent measurements: how long an answer takes, for keeping deadlines."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 2.0
"""Seconds of measurements that count: few enough to follow the load."""
MIN_VALUES = 64
"""Measurements that count however old they are: enough for a tail."""
MAX_VALUES = 512
"""Measurements that are kept."""
CHUNK_TOKENS = 8
"""Tokens of a request after which their latency is reported, before its end."""
LONG_PROMPT_TOKENS = 128
"""Tokens from which on the time of a prompt is mostly that of its tokens."""
STALE_S = 0.02
"""Seconds for which an estimate is reused: many sessions ask at every token."""


class LatencyEstimator:
    """Predicts how long the next answer will take.

    Everything is measured where the session runs, so that queueing, scheduling and the
    event loop are included. Nothing is assumed: the scheduler runs a few sessions of
    its own before it takes requests.
    """

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        """
        Args:
            clock: the time in seconds; `time.monotonic` by default.
        """
        clock = clock or time.monotonic
        self._clock = clock
        self._switch_s = _Measurements(clock)
        self._inter_token_s = _Measurements(clock)
        self._prefill_s = _Measurements(clock)
        self._answer_tokens = {structured: _Measurements(clock) for structured in (False, True)}

    def timer(self) -> TokenTimer:
        """A timer for the tokens of one request, which reports to this estimator."""
        return TokenTimer(self, self._clock)

    def record_decoding(self, *, num_tokens: int, seconds: float) -> None:
        """`num_tokens` followed one another over `seconds`."""
        if num_tokens > 0:
            self._inter_token_s.add(seconds / num_tokens)

    def record_switch(self, *, seconds: float, uncached_tokens: int = 0) -> None:
        """An answer's first token came `seconds` after the thinking before it was, or was to be, truncated.

        Args:
            uncached_tokens: tokens of its prompt that had to be computed in that time.
        """
        prefill_s = uncached_tokens * self._prefill_s.quantile(0.5)
        if uncached_tokens == 0 or prefill_s > 0:
            self._switch_s.add(max(0.0, seconds - prefill_s))

    def record_prefill(self, *, num_tokens: int, seconds: float) -> None:
        """The first token after a prompt of `num_tokens`, none of them computed before, took `seconds`.

        A short prompt measures one step of the engine, not the cost of a token in a long prompt.
        """
        if num_tokens >= LONG_PROMPT_TOKENS:
            self._prefill_s.add(seconds / num_tokens)

    def record_answer(self, *, answer_tokens: int, structured: bool = False) -> None:
        """An answer had `answer_tokens`."""
        self._answer_tokens[structured].add(answer_tokens)

    @property
    def inter_token_s(self) -> float:
        """Median time from one token to the next; 0 before any was seen."""
        return self._inter_token_s.quantile(0.5)

    def answer_cost_s(self, max_tokens: int, *, uncached_tokens: int = 0, structured: bool = False) -> float:
        """Seconds from a truncation to the last token of the answer, at the slow end of recent measurements.

        Args:
            max_tokens: the most tokens that this answer may have; shorter ones are expected
                only as far as recent answers were.
            uncached_tokens: tokens of its prompt that are yet to be computed.
            structured: whether it is JSON or may call tools.
        """
        longest = self._answer_tokens[structured].quantile(1.0)
        num_tokens = min(max_tokens, longest or max_tokens)
        return (
            self._switch_s.quantile(0.98)
            + uncached_tokens * self._prefill_s.quantile(0.95)
            + num_tokens * self._inter_token_s.quantile(0.95)
        )


class _Measurements:
    """Measurements with their times."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._values: deque[tuple[float, float]] = deque(maxlen=MAX_VALUES)
        self._quantiles: dict[float, tuple[float, float]] = {}

    def add(self, value: float) -> None:
        self._values.append((self._clock(), value))
        if len(self._values) <= MIN_VALUES:
            self._quantiles.clear()

    def quantile(self, share: float) -> float:
        """Of those within the window; 0 where there are none at all."""
        now = self._clock()
        computed_at, quantile = self._quantiles.get(share, (-math.inf, 0.0))
        if now - computed_at > STALE_S:
            quantile = self._compute(share, now)
            self._quantiles[share] = (now, quantile)
        return quantile

    def _compute(self, share: float, now: float) -> float:
        values = list(self._values)
        first = next((i for i, (at, _) in enumerate(values) if now - at <= WINDOW_S), len(values))
        ordered = sorted(value for _, value in values[max(0, min(first, len(values) - MIN_VALUES)) :])
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class TokenTimer:
    """Times the tokens of one request, from the first to arrive to the last."""

    def __init__(self, estimator: LatencyEstimator, clock: Callable[[], float]) -> None:
        self._estimator = estimator
        self._clock = clock
        self._num_tokens = 0
        self._counted_from = 0.0
        self.first_token_at: float | None = None
        """`time.monotonic()` of the first token's arrival."""
        self.last_token_at: float | None = None
        """The same of the latest token."""

    def tick(self, num_tokens: int) -> None:
        """`num_tokens` have arrived."""
        if num_tokens == 0:
            return
        self.last_token_at = self._clock()
        if self.first_token_at is None:
            self.first_token_at = self._counted_from = self.last_token_at
            return
        self._num_tokens += num_tokens
        if self._num_tokens >= CHUNK_TOKENS:
            self.report()

    def report(self) -> None:
        """Report the latency of the tokens since the last report."""
        if self.last_token_at is not None:
            self._estimator.record_decoding(
                num_tokens=self._num_tokens, seconds=self.last_token_at - self._counted_from
            )
            self._num_tokens, self._counted_from = 0, self.last_token_at
