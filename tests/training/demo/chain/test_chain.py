"""Chains against results computed by hand."""

import pytest
from anytime_training.demo.arithmetic import Operation, Step
from anytime_training.demo.chain.chain import Chain


def chain(start: int, *steps: str) -> Chain:
    return Chain(
        start=start,
        steps=tuple(Step(operation=Operation(step[0]), operand=int(step[1:])) for step in steps),
    )


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (chain(7, "-3", "x2", "+5"), [4, 8, 3]),
        (chain(3, "-7", "x3"), [6, 8]),
        (chain(9, "+9", "x9", "-9", "+0"), [8, 2, 3, 3]),
    ],
)
def test_values_are_taken_modulo_ten_from_left_to_right(given: Chain, values: list[int]) -> None:
    assert given.values == values


def test_content_is_the_chain_as_written() -> None:
    assert chain(7, "-3", "x2", "+5").content == "7-3x2+5"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (chain(7, "-3", "-4"), True),
        (chain(7, "-3", "-5"), False),
        (chain(9, "+9", "-9", "-9"), True),  # 0 exactly: the exact partial results count
        (chain(1, "-2", "+5"), False),
    ],
)
def test_never_negative_looks_at_every_exact_partial_result(given: Chain, expected: bool) -> None:
    assert given.never_negative is expected
