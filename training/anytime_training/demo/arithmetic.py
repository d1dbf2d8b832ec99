"""Operations on whole numbers, as the demonstration's tasks use them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Operation(StrEnum):
    """The operation of a step; the value is its sign."""

    PLUS = "+"
    MINUS = "-"
    TIMES = "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation with its operand."""

    operation: Operation
    operand: int

    def exact(self, value: int) -> int:
        """The value after this step."""
        match self.operation:
            case Operation.PLUS:
                return value + self.operand
            case Operation.MINUS:
                return value - self.operand
            case Operation.TIMES:
                return value * self.operand

    def __str__(self) -> str:
        return f"{self.operation}{self.operand}"
