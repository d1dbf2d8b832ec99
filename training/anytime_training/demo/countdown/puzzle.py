"""Countdown puzzles: reach a target with four numbers, each used once.

An attempt takes the numbers one after the other: 8, + 3, x 7, - 2. Not every solution is an attempt:
(8 + 3) x (7 - 2) joins two results. The grader accepts it; the search does not find it.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from anytime_training.demo.arithmetic import Operation, Step

MAX_VALUE = 150
"""The greatest result of a step; the least is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """All numbers of a puzzle in an order, with an operation before each but the first."""

    first: int
    steps: tuple[Step, ...]

    @property
    def values(self) -> list[int]:
        """The result after each step."""
        values: list[int] = []
        value = self.first
        for step in self.steps:
            value = step.exact(value)
            values.append(value)
        return values

    @property
    def value(self) -> int:
        """The result."""
        return self.values[-1]

    @property
    def expression(self) -> str:
        """The attempt with parentheses where they are needed: `(8 + 3) x 7 - 2`."""
        text, is_sum = str(self.first), False
        for step in self.steps:
            is_product = step.operation is Operation.TIMES
            if is_product and is_sum:
                text = f"({text})"
            text += f" {step.operation} {step.operand}"
            is_sum = not is_product
        return text


def attempts(numbers: tuple[int, ...]) -> list[Attempt]:
    """All attempts with these numbers whose results stay within 1 and `MAX_VALUE`.

    Two numbers that are added or multiplied first have the greater first: 3 + 8 is left out beside 8 + 3.
    """
    return [Attempt(first=first, steps=steps) for first, steps in set(_attempts(numbers))]


def _attempts(numbers: tuple[int, ...]) -> Iterator[tuple[int, tuple[Step, ...]]]:
    for index, first in enumerate(numbers):
        for steps in _steps(first, numbers[:index] + numbers[index + 1 :], ()):
            if steps[0].operation is Operation.MINUS or first >= steps[0].operand:
                yield first, steps


def _steps(value: int, left: tuple[int, ...], before: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    if not left:
        yield before
    for index, operand in enumerate(left):
        for operation in Operation:
            step = Step(operation=operation, operand=operand)
            if 1 <= (after := step.exact(value)) <= MAX_VALUE:
                yield from _steps(after, left[:index] + left[index + 1 :], (*before, step))


def solves(expression: str, numbers: tuple[int, ...], target: int) -> bool:
    """Whether an expression of +, - and x uses each number once and has the target as its value.

    Does not raise for any text.
    """
    if len(expression) > 100:  # ast recurses
        return False
    try:
        tree = ast.parse(expression.replace("×", "*").replace("x", "*").strip(), mode="eval")
        used: list[int] = []
        value = _value(tree.body, used)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return value == target and Counter(used) == Counter(numbers)


def _value(node: ast.expr, used: list[int]) -> int:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            used.append(value)
            return value
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, used) + _value(right, used)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _value(left, used) - _value(right, used)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _value(left, used) * _value(right, used)
        case _:
            raise ValueError("neither a whole number nor a sum, difference or product")
