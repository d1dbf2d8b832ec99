"""Countdown puzzles: all attempts, their expressions, and the grading of any expression."""

import itertools

import pytest
from anytime_training.demo.arithmetic import Operation, Step
from anytime_training.demo.countdown.puzzle import MAX_VALUE, Attempt, Opening, openings, solves
from hypothesis import example, given
from hypothesis import strategies as st

NUMBERS = (8, 3, 7, 2)


def attempt(first: int, *steps: str) -> Attempt:
    return Attempt(
        first=first,
        steps=tuple(Step(operation=Operation(step[0]), operand=int(step[1:])) for step in steps),
    )


@pytest.mark.parametrize(
    ("steps", "expression", "values"),
    [
        (("+3", "x7", "-2"), "(8 + 3) x 7 - 2", [11, 77, 75]),
        (("x7", "+3", "-2"), "8 x 7 + 3 - 2", [56, 59, 57]),
        (("-3", "x7", "x2"), "(8 - 3) x 7 x 2", [5, 35, 70]),
        (("-7", "x3", "+2"), "(8 - 7) x 3 + 2", [1, 3, 5]),
        (("x3", "-7", "x2"), "(8 x 3 - 7) x 2", [24, 17, 34]),
    ],
)
def test_expression_and_values_of_an_attempt(
    steps: tuple[str, ...], expression: str, values: list[int]
) -> None:
    tried = attempt(8, *steps)
    assert tried.expression == expression
    assert tried.values == values
    assert eval(expression.replace("x", "*")) == tried.value == values[-1]


def attempts(numbers: tuple[int, ...]) -> list[Attempt]:
    found = (opening.branches() for opening in openings(numbers))
    return [one for branches in found for _, attempts in branches for one in attempts]


def in_text(one: Attempt) -> str:
    return f"((({one.first}){one.steps[0]}){one.steps[1]}){one.steps[2]}".replace("x", "*")


def test_attempts_reach_every_value_of_a_slow_enumeration() -> None:
    expected: set[int] = set()
    for order in itertools.permutations(NUMBERS):
        for signs in itertools.product("+-*", repeat=3):
            text, values = str(order[0]), []
            for sign, number in zip(signs, order[1:], strict=True):
                text = f"({text}){sign}{number}"
                values.append(eval(text))
            if all(1 <= value <= MAX_VALUE for value in values):
                expected.add(values[-1])
    found = attempts(NUMBERS)
    assert {one.value for one in found} == expected
    assert all(eval(in_text(one)) == one.value for one in found)
    assert all(1 <= value <= MAX_VALUE for one in found for value in one.values)


def test_attempts_that_differ_in_the_order_of_like_steps_are_listed_once() -> None:
    found = [in_text(one) for one in attempts(NUMBERS)]
    assert len(found) == len(set(found))
    assert "(((8)+7)+3)+2" in found
    assert "(((8)+7)+2)+3" not in found
    assert {"(((8)+7)*3)-2", "(((8)+7)-2)*3"} <= set(found)


def test_openings_that_no_attempt_begins_with_are_left_out() -> None:
    found = openings((79, 1, 80, 80))
    assert Opening(first=79, step=Step(operation=Operation.PLUS, operand=1), left=(80, 80)) not in found
    assert all(opening.branches() for opening in found)


def test_openings_have_the_greater_number_first_and_the_others_left() -> None:
    found = openings((5, 2, 5, 9))
    assert len(found) == len(set(found))
    assert all(opening.first >= opening.step.operand for opening in found)
    by_hand = Opening(first=9, step=Step(operation=Operation.MINUS, operand=5), left=(2, 5))
    assert by_hand in found
    assert by_hand.value == 4
    assert not any(opening.value == 0 for opening in found)


@pytest.mark.parametrize(
    "expression",
    ["(8 + 3) x 7 - 2", "7x(3+8)-2", "(8+3)*7-2", " 7 × (8 + 3) - 2 ", "((8) + 3) x 7 - 2"],
)
def test_any_solution_is_accepted(expression: str) -> None:
    assert solves(expression, NUMBERS, 75)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "75",
        "8 + 3 x 7 - 2",
        "(8 + 3) x 7 - 2 + 0",
        "(8 + 3) x 7 - 1 - 1",
        "70 + 5",
        "(8 + 3) x 7",
        "(8 + 3) x 7 - 2 = 75",
        "(8 + 3) x 7 - 2.0",
        "-(2 - (8 + 3) x 7)",
        "(8 + 3) x 7 - 2 if 1 else 0",
        "8 ** 3",
        "True",
        "(" * 5000,
    ],
)
def test_anything_else_is_refused(expression: str) -> None:
    assert not solves(expression, NUMBERS, 75)


@given(st.text() | st.text(alphabet="0123456789+-x*/() "))
@example("\x00")
@example("1" * 90)
def test_grading_never_raises(expression: str) -> None:
    assert solves(expression, NUMBERS, 75) in (True, False)
