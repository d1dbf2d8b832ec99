"""Comparison of early answers, which come in any order: the answers that agree."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from anytime_server.session.early_answers import AnswerComparison
from anytime_server.types import StopWhen


def comparison(stable: int = 2, every_tokens: int = 4, min_confidence: float = 0.0) -> AnswerComparison:
    request: Any = SimpleNamespace(
        stop_when=StopWhen(stable=stable, every_tokens=every_tokens, min_confidence=min_confidence)
    )
    return AnswerComparison(request)


def result(text: str, confidence: float = 1.0) -> Any:
    return SimpleNamespace(
        text=SimpleNamespace(sampled_text=text), answer=SimpleNamespace(confidence=confidence)
    )


def first_agreed(compared: AnswerComparison, *results: tuple[int, Any]) -> int | None:
    """Position of the result with which the answers agree, and which must then be returned."""
    for position, (at_tokens, given) in enumerate(results):
        agreed = compared.add(at_tokens, given)
        if agreed is not None:
            return position
    return None


@pytest.mark.parametrize(
    ("stable", "answers", "position"),
    [
        (2, "a", None),
        (2, "aa", 1),
        (2, "abab", None),
        (2, "abb", 2),
        (3, "aabbb", 4),
        (3, "aab", None),
        (2, "a a", None),  # the one between gave no answer
        (2, "a aa", 3),
        (3, "aa a", None),
    ],
)
def test_agreement_needs_stable_equal_answers_in_a_row(
    stable: int, answers: str, position: int | None
) -> None:
    results = [(4 * n, None if a == " " else result(a)) for n, a in enumerate(answers, start=1)]
    assert first_agreed(comparison(stable), *results) == position


def test_the_last_that_agrees_is_returned_though_it_came_first() -> None:
    compared, first, second = comparison(), result("42"), result(" 42.")
    assert compared.add(8, second) is None
    assert compared.add(4, first) is second


def test_answers_at_other_tokens_are_not_compared() -> None:
    compared = comparison()
    for at_tokens in (0, 1, 3, 5, 6):
        assert compared.add(at_tokens, result("a")) is None
    assert compared.add(4, result("a")) is None
    assert compared.add(8, result("a")) is not None


@pytest.mark.parametrize(
    ("min_confidence", "confidences", "position"),
    [
        (0.5, [0.5, 0.5], 1),
        (0.5, [0.5, 0.49, 0.5], None),
        (0.5, [0.49, 0.5, 0.5], 2),
        (0.0, [0.0, 0.0], 1),
    ],
)
def test_an_answer_below_the_minimum_confidence_agrees_with_no_other(
    min_confidence: float, confidences: list[float], position: int | None
) -> None:
    results = [(4 * n, result("a", confidence)) for n, confidence in enumerate(confidences, start=1)]
    assert first_agreed(comparison(min_confidence=min_confidence), *results) == position
