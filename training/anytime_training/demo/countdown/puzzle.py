"""Countdown puzzles: reach a target with four numbers, each used once.

An attempt takes the numbers one after the other: 8, + 3, x 7, - 2. It begins with an opening, the first
step, here 8 + 3. Not every solution is an attempt: (8 + 3) x (7 - 2) joins two results. The grader accepts
it; the search does not find it.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass

from anytime_training.demo.arithmetic import Operation, Step

MAX_VALUE = 150
"""The greatest result of a step; the least is 1."""

_ORDER = (Operation.TIMES, Operation.PLUS, Operation.MINUS)


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
    def is_within_range(self) -> bool:
        """Whether each result is within 1 and `MAX_VALUE`."""
        return all(1 <= value <= MAX_VALUE for value in self.values)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The first step of attempts, and the two numbers that are left."""

    first: int
    step: Step
    left: tuple[int, int]
    """Ascending."""

    @property
    def value(self) -> int:
        """The result of the step."""
        return self.step.exact(self.first)

    def branches(self) -> list[tuple[Step, list[Attempt]]]:
        """The attempts that begin so, by their second step, in the order in which they are tried.

        The greater number left comes second before the smaller one does. Attempts that differ only in the
        order of two last sums, differences or products are listed once. Results stay within 1 and
        `MAX_VALUE`.
        """
        smaller, greater = self.left
        found: list[tuple[Step, list[Attempt]]] = []
        for second, third in ((greater, smaller), (smaller, greater))[: 1 + (smaller != greater)]:
            for operation in _ORDER:
                step = Step(operation=operation, operand=second)
                attempts = [
                    Attempt(first=self.first, steps=(self.step, step, last))
                    for last in (Step(operation=last, operand=third) for last in _ORDER)
                    if second == greater
                    or (operation is Operation.TIMES) != (last.operation is Operation.TIMES)
                ]
                if attempts := [attempt for attempt in attempts if attempt.is_within_range]:
                    found.append((step, attempts))
        return found


def openings(numbers: tuple[int, ...]) -> list[Opening]:
    """All openings with two of the four numbers, the greater first, that an attempt begins with."""
    found: dict[Opening, None] = {}
    for index, first in enumerate(numbers):
        for other, operand in enumerate(numbers):
            if other == index or first < operand:
                continue
            smaller, greater = sorted(number for at, number in enumerate(numbers) if at not in (index, other))
            for operation in _ORDER:
                step = Step(operation=operation, operand=operand)
                opening = Opening(first=first, step=step, left=(smaller, greater))
                if opening.branches():
                    found[opening] = None
    return list(found)


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
