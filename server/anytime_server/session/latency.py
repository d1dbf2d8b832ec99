"""Latency estimates from recent measurements: how long an answer takes, for keeping deadlines."""

from __future__ import annotations

import math
import statistics
import time
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable
from operator import attrgetter

MOMENT_S = 0.25
"""Seconds whose measurements count as one: a freeze delays everything that runs at that moment."""
MOMENT_SHARE = 0.5
"""A measurement counts to a moment that began within this share of its own time, too: after a freeze, what
was delayed ends little by little."""
WINDOW_S = 5.0
"""Moments of the last seconds count: few enough to follow the load."""
MIN_MOMENTS = 8
"""Latest moments that count at any age."""
TRUSTED_MOMENTS = 4
"""With this number of moments or more, the slowest does not count: it may be a freeze."""
SLOW_SHARE = 0.9
"""Share of a moment's measurements that are no slower than its slow end."""
MAX_VALUES = 256
"""Measurements of a moment that are kept: the latest ones."""
NUM_ANSWERS = 128
"""Answers whose length counts."""
RUNAWAY_FACTOR = 4
"""An answer that is longer than most by this factor does not count: it may use all of the window."""
CHUNK_TOKENS = 8
"""Tokens of a request after which their latency is reported, before its end."""
LONG_PROMPT_TOKENS = 128
"""The time of a prompt with this number of tokens or more is mostly that of its tokens."""
STALE_S = 0.02
"""Seconds for which an estimate is reused: many sessions ask at every token."""


class LatencyEstimator:
    """Predicts how long the next answer will take.

    Everything is measured where the session runs, so that queueing, scheduling and the
    event loop are included. Nothing is assumed: the scheduler runs a few sessions of
    its own before it takes requests.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] | None = None,
        valid_from: Callable[[], float] = lambda: -math.inf,
    ) -> None:
        """
        Args:
            clock: the time in seconds; `time.monotonic` by default.
            valid_from: the clock's time before which measurements must not have begun. They have, if the
                engine was restarted meanwhile.
        """
        self._clock = clock = clock or time.monotonic
        self._valid_from = valid_from
        self._switch_s = _Measurements(clock)
        self._inter_token_s = _Measurements(clock)
        self._prefill_s = _Measurements(clock)
        self._answer_tokens = {structured: deque[int](maxlen=NUM_ANSWERS) for structured in (False, True)}

    def timer(self) -> TokenTimer:
        """A timer for the tokens of one request, which reports to this estimator."""
        return TokenTimer(self, self._clock)

    def record_decoding(self, *, num_tokens: int, seconds: float, at: float | None = None) -> None:
        """`num_tokens` followed one another over `seconds`.

        Args:
            at: the clock's time of the last of them; now by default.
        """
        if num_tokens > 0 and self._is_valid(seconds, at):
            self._inter_token_s.add(seconds / num_tokens, seconds=seconds, at=at)

    def record_switch(self, *, seconds: float, uncached_tokens: int = 0, at: float | None = None) -> None:
        """An answer's first token came `seconds` after the thinking before it was, or was to be, truncated.

        Args:
            uncached_tokens: tokens of its prompt that had to be computed in that time.
            at: the clock's time of that token; now by default.
        """
        prefill_s = uncached_tokens * self._prefill_s.median()
        if self._is_valid(seconds, at) and (uncached_tokens == 0 or prefill_s > 0):
            self._switch_s.add(max(0.0, seconds - prefill_s), seconds=seconds, at=at)

    def record_prefill(self, *, num_tokens: int, seconds: float) -> None:
        """The first token after a prompt of `num_tokens`, none of them computed before, took `seconds`.

        A short prompt measures one step of the engine, not the cost of a token in a long prompt.
        """
        if num_tokens >= LONG_PROMPT_TOKENS and self._is_valid(seconds):
            self._prefill_s.add(seconds / num_tokens, seconds=seconds)

    def record_answer(self, *, answer_tokens: int, structured: bool = False) -> None:
        """An answer had `answer_tokens`."""
        self._answer_tokens[structured].append(answer_tokens)

    def _is_valid(self, seconds: float, at: float | None = None) -> bool:
        """Whether no restart was within these seconds."""
        return (self._clock() if at is None else at) - seconds >= self._valid_from()

    @property
    def inter_token_s(self) -> float:
        """Median time from one token to the next; 0 before any was seen."""
        return self._inter_token_s.median()

    def answer_cost_s(
        self,
        max_tokens: int,
        *,
        expected_tokens: int | None = None,
        uncached_tokens: int = 0,
        structured: bool = False,
    ) -> float:
        """Seconds from a truncation to the last token of the answer, at the slow end of recent measurements.

        Args:
            max_tokens: the most tokens that this answer may have. It is expected to be as long as the longest
                of the recent answers; few that were much longer than the others do not count.
            expected_tokens: its length before any answer was measured; by default `max_tokens`.
            uncached_tokens: tokens of its prompt that are yet to be computed.
            structured: whether it is JSON or may call tools.
        """
        longest = self._longest_answer(structured) or expected_tokens or max_tokens
        return (
            self._switch_s.slow_end()
            + uncached_tokens * self._prefill_s.slow_end()
            + min(max_tokens, longest) * self._inter_token_s.slow_end()
        )

    def _longest_answer(self, structured: bool) -> int | None:
        """Tokens of the longest recent answer, runaways aside; None before the first answer."""
        ordered = sorted(self._answer_tokens[structured])
        if not ordered:
            return None
        usual_tokens = ordered[int(SLOW_SHARE * len(ordered))]
        return max(tokens for tokens in ordered if tokens <= RUNAWAY_FACTOR * usual_tokens)


class _Moment:
    """The measurements that ended soon after the first of them."""

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self._values = deque[float](maxlen=MAX_VALUES)
        self._ordered: list[float] | None = None

    def add(self, value: float) -> None:
        self._values.append(value)
        self._ordered = None

    def quantile(self, share: float) -> float:
        ordered = self._ordered = self._ordered or sorted(self._values)
        return ordered[int(share * len(ordered))]


class _Measurements:
    """Measurements of one kind, grouped by the moment of their end.

    One freeze of the engine or the event loop can delay any number of measurements, but all of them end when
    it does or soon after: they are one slow moment, and one slow moment does not count. Load slows moment
    after moment.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._moments: list[_Moment] = []
        """In the order of their beginnings."""
        self._slow_end = self._median = 0.0
        self._computed_at: float | None = None

    def add(self, value: float, *, seconds: float, at: float | None = None) -> None:
        """Add a measurement that took `seconds` and ended at `at`, by default now."""
        self._moment(self._clock() if at is None else at, max(MOMENT_S, MOMENT_SHARE * seconds)).add(value)
        if len(self._moments) <= TRUSTED_MOMENTS:
            self._computed_at = None

    def slow_end(self) -> float:
        """The slow end of the slowest moment but one; 0 without measurements."""
        self._refresh()
        return self._slow_end

    def median(self) -> float:
        """The median of the moments' medians; 0 without measurements."""
        self._refresh()
        return self._median

    def _moment(self, at: float, within_s: float) -> _Moment:
        index = bisect_right(self._moments, at, key=attrgetter("began_at"))
        if index > 0 and at - self._moments[index - 1].began_at < within_s:
            return self._moments[index - 1]
        self._forget_old()
        self._computed_at = None
        insort(self._moments, moment := _Moment(at), key=attrgetter("began_at"))
        return moment

    def _forget_old(self) -> None:
        from_s = self._clock() - WINDOW_S
        num_recent = sum(moment.began_at >= from_s for moment in self._moments)
        del self._moments[: -max(MIN_MOMENTS, num_recent)]

    def _refresh(self) -> None:
        now = self._clock()
        if not self._moments or (self._computed_at is not None and now - self._computed_at <= STALE_S):
            return
        self._computed_at = now
        self._forget_old()
        slow = sorted(moment.quantile(SLOW_SHARE) for moment in self._moments)
        self._slow_end = slow[-1] if len(slow) < TRUSTED_MOMENTS else slow[-2]
        self._median = statistics.median_low(moment.quantile(0.5) for moment in self._moments)


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
                num_tokens=self._num_tokens,
                seconds=self.last_token_at - self._counted_from,
                at=self.last_token_at,
            )
            self._num_tokens, self._counted_from = 0, self.last_token_at
