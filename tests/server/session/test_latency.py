"""Latency estimates against hand-computed values. Times are sums of powers of two, so that they are exact."""

from __future__ import annotations

import pytest
from anytime_server.session.latency import LONG_PROMPT_TOKENS, MIN_VALUES, WINDOW_S, LatencyEstimator


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
    # 50 at 0.25 s a token and 14 at 0.5: the middle is the former, the slowest twentieth the latter.
    for seconds in [0.25] * 50 + [0.5] * 14:
        estimator.record_decoding(num_tokens=1, seconds=seconds)
    # 60 switches of 1 s and 4 of 2: the slowest fiftieth takes 2.
    for seconds in [1.0] * 60 + [2.0] * 4:
        estimator.record_switch(seconds=seconds)
    assert estimator.inter_token_s == 0.25
    assert estimator.answer_cost_s(10) == 2.0 + 10 * 0.5


def test_single_outlier_does_not_change_the_estimate() -> None:
    estimator = LatencyEstimator()
    for seconds in [0.25] * 63 + [60.0]:
        estimator.record_decoding(num_tokens=1, seconds=seconds)
        estimator.record_switch(seconds=seconds)
    assert estimator.answer_cost_s(8) == 0.25 + 8 * 0.25


def test_measurements_outside_the_window_are_forgotten(clock: Clock) -> None:
    estimator = LatencyEstimator(clock=clock.monotonic)
    for seconds, tokens in ((8.0, 500), (0.5, 4)):
        for _ in range(MIN_VALUES):
            estimator.record_decoding(num_tokens=1, seconds=seconds)
            estimator.record_switch(seconds=seconds)
            estimator.record_answer(answer_tokens=tokens)
        clock.now += WINDOW_S + 1
    assert estimator.answer_cost_s(500) == 0.5 + 4 * 0.5


def test_decoding_of_no_tokens_is_ignored() -> None:
    estimator = LatencyEstimator()
    estimator.record_decoding(num_tokens=0, seconds=3.0)
    assert estimator.inter_token_s == 0


def test_under_load_only_the_window_counts(clock: Clock) -> None:
    estimator = LatencyEstimator(clock=clock.monotonic)
    for _ in range(2 * MIN_VALUES):
        estimator.record_decoding(num_tokens=1, seconds=0.25)
    clock.now += WINDOW_S / 2
    for _ in range(MIN_VALUES // 2):
        estimator.record_decoding(num_tokens=1, seconds=0.5)
    assert estimator.inter_token_s == 0.25  # of 2.5 MIN_VALUES within the window
    clock.now += WINDOW_S / 2 + 0.5
    for _ in range(MIN_VALUES):
        estimator.record_decoding(num_tokens=1, seconds=1.0)
    assert estimator.inter_token_s == 1.0  # of 1.5 MIN_VALUES


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
