"""Latency estimates against hand-computed values. Times are sums of powers of two, so that they are exact."""

from __future__ import annotations

import pytest
from anytime_server.session.latency import (
    LONG_PROMPT_TOKENS,
    MIN_MOMENTS,
    MOMENT_S,
    NUM_ANSWERS,
    WINDOW_S,
    LatencyEstimator,
    TokenTimer,
)


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_estimates_are_zero_without_measurements() -> None:
    estimator = LatencyEstimator()
    assert estimator.inter_token_s == 0
    assert estimator.answer_cost_s(256) == 0


def test_answer_cost_is_the_switch_and_the_tokens() -> None:
    estimator = LatencyEstimator()
    estimator.record_decoding(num_tokens=8, seconds=2.0)
    estimator.record_switch(seconds=0.5)
    estimator.record_answer(answer_tokens=12)
    # 0.25 s a token; recent answers had 12 tokens at most.
    assert estimator.inter_token_s == 0.25
    assert estimator.answer_cost_s(4) == 0.5 + 4 * 0.25
    assert estimator.answer_cost_s(12) == 0.5 + 12 * 0.25
    assert estimator.answer_cost_s(256) == 0.5 + 12 * 0.25


def test_longest_answer_is_expected_before_the_first_answer() -> None:
    estimator = LatencyEstimator()
    estimator.record_decoding(num_tokens=4, seconds=1.0)
    assert estimator.answer_cost_s(10) == 10 * 0.25
    assert estimator.answer_cost_s(100, expected_tokens=8) == 8 * 0.25
    assert estimator.answer_cost_s(4, expected_tokens=8) == 4 * 0.25


def test_each_measurement_changes_the_estimate() -> None:
    estimator = LatencyEstimator()
    estimator.record_decoding(num_tokens=4, seconds=1.0)
    assert estimator.answer_cost_s(10) == 2.5
    estimator.record_switch(seconds=0.5)
    estimator.record_answer(answer_tokens=2)
    assert estimator.answer_cost_s(10) == 0.5 + 2 * 0.25
    estimator.record_answer(answer_tokens=6)
    assert estimator.answer_cost_s(10) == 0.5 + 6 * 0.25
    estimator.record_decoding(num_tokens=1, seconds=1.0)
    assert estimator.answer_cost_s(10) == 0.5 + 6 * 1.0


def test_inter_token_time_is_the_median_and_cost_is_the_slow_end() -> None:
    estimator = LatencyEstimator()
    # 50 at 0.25 s a token and 14 at 0.5: the middle is the former, the slowest tenth the latter.
    for seconds in [0.25] * 50 + [0.5] * 14:
        estimator.record_decoding(num_tokens=1, seconds=seconds)
    for seconds in [1.0] * 50 + [2.0] * 14:
        estimator.record_switch(seconds=seconds)
    assert estimator.inter_token_s == 0.25
    assert estimator.answer_cost_s(10) == 2.0 + 10 * 0.5


def test_single_outlier_does_not_change_the_estimate() -> None:
    estimator = LatencyEstimator()
    for seconds in [0.25] * 63 + [60.0]:
        estimator.record_decoding(num_tokens=1, seconds=seconds)
        estimator.record_switch(seconds=seconds)
    assert estimator.answer_cost_s(8) == 0.25 + 8 * 0.25


def record_moments(estimator: LatencyEstimator, clock: Clock, seconds: float, *, num: int) -> None:
    for _ in range(num):
        clock.now += max(MOMENT_S, seconds)
        estimator.record_decoding(num_tokens=1, seconds=seconds)
        estimator.record_switch(seconds=seconds)


def test_one_slow_moment_does_not_count_and_a_second_one_does(clock: Clock) -> None:
    estimator = LatencyEstimator(clock=clock.monotonic)
    record_moments(estimator, clock, 0.25, num=8)
    frozen_until = clock.now + 4.0
    for part in range(128):  # all of them delayed by the same freeze, after which they end little by little
        clock.now = frozen_until + part / 64
        estimator.record_decoding(num_tokens=1, seconds=4.0)
        estimator.record_switch(seconds=4.0)
    assert estimator.answer_cost_s(8) == 9 * 0.25
    clock.now = frozen_until + 2.0  # half of 4 s
    estimator.record_decoding(num_tokens=1, seconds=4.0)
    estimator.record_switch(seconds=4.0)
    assert estimator.answer_cost_s(8) == 9 * 4.0


def test_a_measurement_that_is_reported_late_counts_at_its_own_moment(clock: Clock) -> None:
    """A switch is reported at the end of its answer, long after the moment of the freeze."""
    estimator = LatencyEstimator(clock=clock.monotonic)
    record_moments(estimator, clock, 0.25, num=8)
    resumed_at = clock.now + 2.0
    for _ in range(5):
        clock.now += 1.0
        estimator.record_switch(seconds=2.0, at=resumed_at)
    assert estimator.answer_cost_s(0) == 0.25


def test_measurements_from_before_a_restart_do_not_count(clock: Clock) -> None:
    restarted_at = clock.now + 4.0
    estimator = LatencyEstimator(clock=clock.monotonic, valid_from=lambda: restarted_at)
    clock.now = restarted_at + 0.5
    estimator.record_prefill(num_tokens=LONG_PROMPT_TOKENS, seconds=1.0)
    estimator.record_decoding(num_tokens=1, seconds=1.0)
    estimator.record_switch(seconds=1.0)
    clock.now = restarted_at + 9.0  # an answer is reported at its end
    estimator.record_switch(seconds=1.0, at=restarted_at + 0.5)
    assert estimator.answer_cost_s(8, uncached_tokens=64) == 0
    estimator.record_switch(seconds=0.25, at=restarted_at + 0.25)
    assert estimator.answer_cost_s(8) == 0.25


def test_moments_outside_the_window_are_forgotten_after_enough_new_ones(clock: Clock) -> None:
    estimator = LatencyEstimator(clock=clock.monotonic)
    record_moments(estimator, clock, 8.0, num=2 * MIN_MOMENTS)
    clock.now += WINDOW_S + 1
    assert estimator.answer_cost_s(0) == 8.0  # nothing newer is known
    record_moments(estimator, clock, 0.5, num=MIN_MOMENTS - 1)
    assert estimator.answer_cost_s(1) == 1.0
    assert estimator.inter_token_s == 0.5


def test_the_longest_of_the_last_answers_counts() -> None:
    estimator = LatencyEstimator()
    estimator.record_decoding(num_tokens=1, seconds=1.0)
    for num_tokens in [16, *[4] * (NUM_ANSWERS - 1)]:
        estimator.record_answer(answer_tokens=num_tokens)
    assert estimator.answer_cost_s(1000) == 16.0
    estimator.record_answer(answer_tokens=4)
    assert estimator.answer_cost_s(1000) == 4.0


def test_few_runaway_answers_do_not_count() -> None:
    """One in ten may be more than four times as long as the others; where more are, they are usual."""
    estimator = LatencyEstimator()
    estimator.record_decoding(num_tokens=1, seconds=1.0)
    for num_tokens in [10] * 18 + [40, 500]:
        estimator.record_answer(answer_tokens=num_tokens)
    assert estimator.answer_cost_s(1000) == 40.0
    estimator.record_answer(answer_tokens=500)
    estimator.record_answer(answer_tokens=500)
    assert estimator.answer_cost_s(1000) == 500.0


class Requests:
    """Requests with a deadline of 1.5 s, one after another, that think until it or 20 tokens at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latency = LatencyEstimator(clock=clock.monotonic)
        self.token_s = 0.01

    def run(self) -> tuple[int, bool]:
        """The number of thinking tokens, and whether the answer was in time."""
        clock, latency = self._clock, self._latency
        deadline_at, num_tokens, timer = clock.now + 1.5, 0, latency.timer()
        while num_tokens < 20:
            latest_at = deadline_at - latency.answer_cost_s(16)
            if clock.now + self.token_s > latest_at:
                clock.now = max(clock.now, latest_at)
                break
            self._sample(timer)
            num_tokens += 1
        timer.report()
        clock.now += 2 * self.token_s
        latency.record_switch(seconds=2 * self.token_s)
        timer = latency.timer()
        for _ in range(12):
            self._sample(timer)
        timer.report()
        latency.record_answer(answer_tokens=12)
        return num_tokens, clock.now <= deadline_at

    def freeze(self, seconds: float) -> None:
        """Delay what 16 other sessions measure."""
        self._clock.now += seconds
        for _ in range(16):
            self._clock.now += 0.01
            self._latency.record_switch(seconds=seconds)
            self._latency.record_decoding(num_tokens=8, seconds=seconds)

    def _sample(self, timer: TokenTimer) -> None:
        self._clock.now += self.token_s
        timer.tick(1)


def test_requests_think_right_after_a_freeze(clock: Clock) -> None:
    requests = Requests(clock)
    for _ in range(20):
        requests.run()
    requests.freeze(2.0)
    assert [requests.run() for _ in range(40)] == [(20, True)] * 40


def test_requests_after_two_freezes_soon_think_again(clock: Clock) -> None:
    requests = Requests(clock)
    for _ in range(20):
        requests.run()
    for _ in range(2):
        requests.freeze(2.0)
        requests.run()
    after = [requests.run() for _ in range(40)]
    assert all(in_time for _, in_time in after)
    assert [num_tokens for num_tokens, _ in after[20:]] == [20] * 20


@pytest.mark.parametrize("factor", [3, 6, 8])
def test_deadlines_are_kept_while_the_engine_stays_slow(clock: Clock, factor: int) -> None:
    requests = Requests(clock)
    for _ in range(20):
        requests.run()
    requests.token_s *= factor
    slow = [requests.run() for _ in range(30)]
    assert sum(not in_time for _, in_time in slow) <= 2  # until it has shown in two moments
    assert all(num_tokens > 0 for num_tokens, _ in slow)
    requests.token_s /= factor
    assert [requests.run() for _ in range(40)][8:] == [(20, True)] * 32


def test_decoding_of_no_tokens_is_ignored() -> None:
    estimator = LatencyEstimator()
    estimator.record_decoding(num_tokens=0, seconds=3.0)
    assert estimator.inter_token_s == 0


def test_uncached_prompt_tokens_add_to_the_cost() -> None:
    estimator = LatencyEstimator()
    estimator.record_switch(seconds=0.5)
    estimator.record_prefill(num_tokens=LONG_PROMPT_TOKENS, seconds=4.0)
    estimator.record_prefill(num_tokens=LONG_PROMPT_TOKENS - 1, seconds=64.0)  # too short to be measured
    assert estimator.answer_cost_s(10) == 0.5
    assert estimator.answer_cost_s(10, uncached_tokens=32) == 0.5 + 1.0


def test_switch_excludes_the_time_of_uncached_prompt_tokens() -> None:
    estimator = LatencyEstimator()
    estimator.record_switch(
        seconds=8.0, uncached_tokens=64
    )  # ignored: the cost of prompt tokens is not known yet
    assert estimator.answer_cost_s(0) == 0
    estimator.record_prefill(num_tokens=LONG_PROMPT_TOKENS, seconds=4.0)
    estimator.record_switch(seconds=2.5, uncached_tokens=64)
    assert estimator.answer_cost_s(0) == 0.5


def test_lengths_of_plain_and_structured_answers_are_separate() -> None:
    estimator = LatencyEstimator()
    estimator.record_decoding(num_tokens=4, seconds=1.0)
    estimator.record_answer(answer_tokens=2)
    assert estimator.answer_cost_s(100) == 0.5
    assert estimator.answer_cost_s(100, structured=True) == 25.0
    estimator.record_answer(answer_tokens=40, structured=True)
    assert (estimator.answer_cost_s(100), estimator.answer_cost_s(100, structured=True)) == (0.5, 10.0)


def test_timer_reports_before_the_end_of_a_long_answer(clock: Clock) -> None:
    estimator = LatencyEstimator(clock=clock.monotonic)
    timer = estimator.timer()
    for _ in range(9):
        clock.now += 0.5
        timer.tick(1)
    assert estimator.inter_token_s == 0.5


def test_timer_measures_from_the_first_token_to_the_last(clock: Clock) -> None:
    estimator = LatencyEstimator(clock=clock.monotonic)
    timer = estimator.timer()
    clock.now = 1010.0  # the wait for the first token does not count
    timer.tick(1)
    clock.now = 1010.5
    timer.tick(2)
    clock.now = 1011.0
    timer.tick(0)  # nothing arrived
    clock.now = 1012.0
    timer.tick(6)
    clock.now = 1100.0
    timer.report()
    assert (timer.first_token_at, timer.last_token_at) == (1010.0, 1012.0)
    # 2 + 6 tokens after the first, within 2 s.
    assert estimator.inter_token_s == 0.25


def test_timer_reports_nothing_without_a_second_token(clock: Clock) -> None:
    estimator = LatencyEstimator(clock=clock.monotonic)
    estimator.timer().report()
    alone = estimator.timer()
    alone.tick(1)
    alone.report()
    assert estimator.inter_token_s == 0
    assert alone.first_token_at == alone.last_token_at == 1000.0
