"""Chains: a digit and operations on it, from left to right, modulo 10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anytime_training.demo.arithmetic import Step

MODULUS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A start and the steps from it: `7-3x2+5` is ((7 - 3) x 2) + 5 modulo 10 = 3."""

    start: int
    """A digit."""
    steps: tuple[Step, ...]

    @property
    def content(self) -> str:
        """The bare expression."""
        return f"{self.start}{''.join(str(step) for step in self.steps)}"

    @property
    def values(self) -> list[int]:
        """The partial result after each step; the last is the answer."""
        return run_steps(self.start, self.steps)

    @property
    def never_negative(self) -> bool:
        """Whether no partial result is below 0, so that modulo 10 and the last digit are the same."""
        value = self.start
        for step in self.steps:
            value = step.exact(value)
            if value < 0:
                return False
        return True


def run_steps(start: int, steps: Sequence[Step]) -> list[int]:
    """The partial results of `steps` from `start`, modulo 10."""
    values: list[int] = []
    value = start
    for step in steps:
        value = step.exact(value) % MODULUS
        values.append(value)
    return values
