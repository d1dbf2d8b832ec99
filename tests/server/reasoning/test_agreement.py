"""Normalised answers: texts that count as the same answer, and texts that do not."""

from __future__ import annotations

import pytest
from anytime_server.reasoning import normalized_answer


@pytest.mark.parametrize(
    "same",
    [
        ["5", " 5.", "**5**", "5.0", "05", "$5$", "so \\boxed{5}.", "\\boxed{3} no, \\boxed{5}", "'5'", "+5"],
        ["1000", "1,000", "1000.00"],
        [".5", "0.5", "0.50"],
        ["-3", "-3.0"],
        ["0", "-0", "0.0"],
        ["Yes", "yes!", "  YES \n"],
        ["x = 2", "x  =\n2"],
        ["\\frac{1}{2}", "\\boxed{\\frac{1}{2}}"],
    ],
)
def test_equivalent_answers_are_equal(same: list[str]) -> None:
    assert len({normalized_answer(text) for text in same}) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("5", "-5"),
        ("5", "50"),
        ("1,00", "100"),
        ("0.5", "5"),
        ("5%", "5"),
        ("yes", "no"),
        ("1" * 40 + "2", "1" * 40 + "3"),
        ("(a)", "(b)"),
        ("", "0"),
    ],
)
def test_different_answers_are_not_equal(first: str, second: str) -> None:
    assert normalized_answer(first) != normalized_answer(second)


@pytest.mark.parametrize(
    "text", ["", ".", "\\boxed{", "\\boxed{{}", "$", "1e999999999", "9" * 5000, "-", "+.", "\ud800"]
)
def test_malformed_answers_are_normalised_without_error(text: str) -> None:
    assert isinstance(normalized_answer(text), str)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("\\boxed{-007.50}", "-7.5"),
        ("+1,234.0", "1234"),
        ("-0.0", "0"),
        (".50", "0.5"),
        ("\\$5", "5"),
        ("a \\$5 bill", "a 5 bill"),
        ("a $5 bill", "a 5 bill"),
        ("The **Red**  Fox!", "the red fox"),
    ],
)
def test_normalised_answer_is_the_shortest_form(text: str, normalised: str) -> None:
    assert normalized_answer(text) == normalised
