"""The detector of repetition loops against a slow reference."""

from __future__ import annotations

import itertools

import pytest
from anytime_server.reasoning.loop import MAX_PERIOD, LoopDetector, LoopRule
from hypothesis import example, given
from hypothesis import strategies as st

RULE = LoopRule(repeats=3, min_tokens=8)
PIECES = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=7), st.integers(1, 6)), min_size=1, max_size=8
)
"""Phrases of few different tokens, each some times in a row."""


def reference(token_ids: list[int], rule: LoopRule) -> int | None:
    """The length of the shortest beginning whose end is a loop."""
    for end in range(1, len(token_ids) + 1):
        for period in range(1, MAX_PERIOD + 1):
            length = max(rule.repeats * period, rule.min_tokens)
            tail = token_ids[end - length : end] if length <= end else None
            if tail and tail[period:] == tail[:-period]:
                return end
    return None


def found(token_ids: list[int], rule: LoopRule, sizes: list[int]) -> int | None:
    detector, before = LoopDetector(rule), 0
    for size in itertools.cycle(sizes):
        if before >= len(token_ids):
            return None
        if (num := detector.push(token_ids[before : before + size])) is not None:
            return before + num
        before += size
    return None


@given(PIECES, st.lists(st.integers(1, 9), min_size=1, max_size=5))
@example([([0], 6), ([1], 1), ([0], 6)], [1])
@example([([0, 1, 2, 1], 3)], [12])
def test_loop_is_found_at_the_token_that_completes_it(
    pieces: list[tuple[list[int], int]], sizes: list[int]
) -> None:
    token_ids = [token_id for phrase, times in pieces for token_id in phrase * times]
    assert found(token_ids, RULE, sizes) == reference(token_ids, RULE)


@pytest.mark.parametrize("period", [1, 2, 50, 200, MAX_PERIOD])
def test_usual_rule_finds_phrases_of_any_length_after_any_text(period: int) -> None:
    before = list(range(1000, 4333))
    looping = before + list(range(period)) * 200
    num_looping = max(4 * period, 128)
    for sizes in ([1], [7], [5000]):
        assert found(looping, LoopRule(), sizes) == len(before) + num_looping
    assert found(looping[: len(before) + num_looping - 1], LoopRule(), [1]) is None


def test_phrase_that_is_too_long_is_none() -> None:
    assert found(list(range(MAX_PERIOD + 1)) * 20, LoopRule(), [64]) is None


def test_repetition_that_is_no_loop() -> None:
    digits = [7, 8] + [3] * 100
    separator = [1, 2, 2, 2] * 20 + [5]
    draft = list(range(200)) * 3
    counted = [token_id for number in range(100) for token_id in (1, 2, 3, 100 + number, 4)]
    for token_ids in (digits, separator, draft, counted):
        assert found(token_ids, LoopRule(), [1]) is None


def test_loop_is_found_again_after_it_was_found() -> None:
    detector = LoopDetector(LoopRule(repeats=2, min_tokens=2))
    assert detector.push([1, 1, 1]) == 2
    assert detector.push([1, 2, 3]) == 1
    assert detector.push([4, 5, 4, 5]) == 4
