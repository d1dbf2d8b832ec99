"""Estimates of speed, by hand. Times are sums of powers of two, so that they are exact."""

from __future__ import annotations

import pytest
from anytime_server.session.latency import LONG_PROMPT_TOKENS, MIN_VALUES, WINDOW_S, LatencyEstimator


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_assumed_before_anything_was_measured() -> None:
    meter = LatencyEstimator()
    assert meter.inter_token_s == 0
    assert meter.answer_cost_s(256) == 0


def test_an_answer_costs_the_switch_and_its_tokens() -> None:
    meter = LatencyEstimator()
    meter.record_decoding(num_tokens=8, seconds=2.0)
    meter.record_switch(seconds=0.5)
    meter.record_answer(answer_tokens=12)
    # 0.25 s a token; recent answers had 12 tokens at most.
    assert meter.inter_token_s == 0.25
    assert meter.answer_cost_s(4) == 0.5 + 4 * 0.25
    assert meter.answer_cost_s(12) == 0.5 + 12 * 0.25
    assert meter.answer_cost_s(256) == 0.5 + 12 * 0.25


def test_without_answers_so_far_all_tokens_are_expected() -> None:
    meter = LatencyEstimator()
    meter.record_decoding(num_tokens=4, seconds=1.0)
    assert meter.answer_cost_s(10) == 10 * 0.25


def test_estimates_follow_what_is_measured() -> None:
    meter = LatencyEstimator()
    meter.record_decoding(num_tokens=4, seconds=1.0)
    assert meter.answer_cost_s(10) == 2.5
    meter.record_switch(seconds=0.5)
    meter.record_answer(answer_tokens=2)
    assert meter.answer_cost_s(10) == 0.5 + 2 * 0.25
    meter.record_answer(answer_tokens=6)
    assert meter.answer_cost_s(10) == 0.5 + 6 * 0.25
    meter.record_decoding(num_tokens=1, seconds=1.0)
    assert meter.answer_cost_s(10) == 0.5 + 6 * 1.0


def test_the_middle_for_the_pace_and_the_slow_end_for_the_cost() -> None:
    meter = LatencyEstimator()
    # 50 at 0.25 s a token and 14 at 0.5: the middle is the former, the slowest twentieth the latter.
    for seconds in [0.25] * 50 + [0.5] * 14:
        meter.record_decoding(num_tokens=1, seconds=seconds)
    # 60 switches of 1 s and 4 of 2: the slowest fiftieth takes 2.
    for seconds in [1.0] * 60 + [2.0] * 4:
        meter.record_switch(seconds=seconds)
    assert meter.inter_token_s == 0.25
    assert meter.answer_cost_s(10) == 2.0 + 10 * 0.5


def test_one_mishap_does_not_set_the_estimate() -> None:
    meter = LatencyEstimator()
    for seconds in [0.25] * 63 + [60.0]:
        meter.record_decoding(num_tokens=1, seconds=seconds)
        meter.record_switch(seconds=seconds)
    assert meter.answer_cost_s(8) == 0.25 + 8 * 0.25


def test_the_distant_past_is_forgotten(clock: Clock) -> None:
    meter = LatencyEstimator(clock=clock.monotonic)
    for seconds, tokens in ((8.0, 500), (0.5, 4)):
        for _ in range(MIN_VALUES):
            meter.record_decoding(num_tokens=1, seconds=seconds)
            meter.record_switch(seconds=seconds)
            meter.record_answer(answer_tokens=tokens)
        clock.now += WINDOW_S + 1
    assert meter.answer_cost_s(500) == 0.5 + 4 * 0.5


def test_no_tokens_are_no_pace() -> None:
    meter = LatencyEstimator()
    meter.record_decoding(num_tokens=0, seconds=3.0)
    assert meter.inter_token_s == 0


def test_under_load_two_seconds_count_and_no_more(clock: Clock) -> None:
    meter = LatencyEstimator(clock=clock.monotonic)
    for _ in range(2 * MIN_VALUES):
        meter.record_decoding(num_tokens=1, seconds=0.25)
    clock.now += WINDOW_S / 2
    for _ in range(MIN_VALUES // 2):
        meter.record_decoding(num_tokens=1, seconds=0.5)
    assert meter.inter_token_s == 0.25  # of 2.5 MIN_VALUES within the window
    clock.now += WINDOW_S / 2 + 0.5
    for _ in range(MIN_VALUES):
        meter.record_decoding(num_tokens=1, seconds=1.0)
    assert meter.inter_token_s == 1.0  # of 1.5 MIN_VALUES


def test_a_prompt_that_is_not_computed_yet_costs_its_tokens() -> None:
    meter = LatencyEstimator()
    meter.record_switch(seconds=0.5)
    meter.record_prefill(num_tokens=LONG_PROMPT_TOKENS, seconds=4.0)
    meter.record_prefill(num_tokens=LONG_PROMPT_TOKENS - 1, seconds=64.0)  # too short to tell anything
    assert meter.answer_cost_s(10) == 0.5
    assert meter.answer_cost_s(10, uncached_tokens=32) == 0.5 + 1.0


def test_an_answer_to_a_prompt_that_had_to_be_computed_is_a_switch_without_that() -> None:
    meter = LatencyEstimator()
    meter.record_switch(seconds=8.0, uncached_tokens=64)  # what of it the prompt took is not known
    assert meter.answer_cost_s(0) == 0
    meter.record_prefill(num_tokens=LONG_PROMPT_TOKENS, seconds=4.0)
    meter.record_switch(seconds=2.5, uncached_tokens=64)
    assert meter.answer_cost_s(0) == 0.5


def test_plain_answers_tell_nothing_of_how_long_json_is() -> None:
    meter = LatencyEstimator()
    meter.record_decoding(num_tokens=4, seconds=1.0)
    meter.record_answer(answer_tokens=2)
    assert meter.answer_cost_s(100) == 0.5
    assert meter.answer_cost_s(100, structured=True) == 25.0
    meter.record_answer(answer_tokens=40, structured=True)
    assert (meter.answer_cost_s(100), meter.answer_cost_s(100, structured=True)) == (0.5, 10.0)


def test_a_long_answer_tells_its_pace_before_its_end(clock: Clock) -> None:
    meter = LatencyEstimator(clock=clock.monotonic)
    timer = meter.timer()
    for _ in range(9):
        clock.now += 0.5
        timer.tick(1)
    assert meter.inter_token_s == 0.5


def test_a_pace_counts_from_the_first_token_to_the_last(clock: Clock) -> None:
    meter = LatencyEstimator(clock=clock.monotonic)
    timer = meter.timer()
    clock.now = 1010.0  # waiting for the first token is no timer
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
    assert meter.inter_token_s == 0.25


def test_a_pace_without_a_second_token_says_nothing(clock: Clock) -> None:
    meter = LatencyEstimator(clock=clock.monotonic)
    meter.timer().report()
    alone = meter.timer()
    alone.tick(1)
    alone.report()
    assert meter.inter_token_s == 0
    assert alone.first_token_at == alone.last_token_at == 1000.0
