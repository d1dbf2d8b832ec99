"""Thinking traces of a chain, in several styles.

| style   | for 7-3x2+5                                  | in use                             |
|---------|----------------------------------------------|------------------------------------|
| terse   | `Quick: 4, 8, 3`                             | short; the position is implicit    |
| wordy   | `Steps: 7-3=4; 4x2=8; 8+5=3`                 | long; each step is easy            |
| recheck | `Quick: 4, 8, 3. Check: 7-3=4; 4x2=8; 8+5=3` | an early guess and later certainty |

With a stride of 2 the terse style leaves out every second result (`Quick: 8, 3`), which is harder.

Everything that a trace states is right, with one exception: the guess of a re-check may slip, as a model's
own guess may. The guess is not learned from the slip on; the check after it is, and it does not depend on
the guess.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt, model_validator

from anytime_training.demo.chain.chain import MODULUS, Chain, run_steps
from anytime_training.demo.chain.task import ChainProblem
from anytime_training.demo.written import Passage, Trace
from anytime_training.section import Section, Share

Style = Literal["terse", "wordy", "recheck"]


class TraceMix(Section):
    """Draws traces of chains in a mixture of styles."""

    kind: Literal["chain"] = "chain"
    """Kind of the task that the traces are for."""

    terse_weight: NonNegativeFloat = 0.3
    """Weight of the quick style."""
    wordy_weight: NonNegativeFloat = 0.4
    """Weight of the step-by-step style."""
    recheck_weight: NonNegativeFloat = 0.3
    """Weight of the quick style followed by the steps."""
    stride: PositiveInt = 1
    """Steps per partial result in the quick style."""
    slip_share: Share = 0.3
    """Share of the re-checks whose guess slips."""

    @model_validator(mode="after")
    def _some_style(self) -> TraceMix:
        if not self.terse_weight + self.wordy_weight + self.recheck_weight:
            raise ValueError("at least one weight must be above 0")
        return self

    def sample(self, problem: ChainProblem, rng: random.Random) -> Trace:
        """A trace of one chain, with the right answer at every truncation."""
        return Trace(passages=self._passages(problem.chain, rng), first_answer=problem.answer)

    def _passages(self, chain: Chain, rng: random.Random) -> tuple[Passage, ...]:
        weights = (self.terse_weight, self.wordy_weight, self.recheck_weight)
        style: Style = rng.choices(("terse", "wordy", "recheck"), weights)[0]
        if style == "terse":
            return terse(chain, stride=self.stride)
        if style == "wordy":
            return wordy(chain)
        slip_rng = rng if rng.random() < self.slip_share else None
        return recheck(chain, stride=self.stride, slip_rng=slip_rng)


def terse(chain: Chain, *, stride: int) -> tuple[Passage, ...]:
    """Only every `stride`-th partial result, and the last."""
    return (Passage(text="Quick: " + _joined(_strided(chain.values, stride))),)


def wordy(chain: Chain) -> tuple[Passage, ...]:
    """Each step written out with its result."""
    return (Passage(text="Steps: " + _written_out(chain)),)


def recheck(chain: Chain, *, stride: int, slip_rng: random.Random | None) -> tuple[Passage, ...]:
    """The terse trace, then the steps.

    Args:
        slip_rng: draws the step at which the guess slips, and the wrong result; None for a right guess.
    """
    check = Passage(text=". Check: " + _written_out(chain))
    if slip_rng is None:
        return (*terse(chain, stride=stride), check)
    values = chain.values
    shown = _strided(range(len(values)), stride)
    slip_at = slip_rng.randrange(len(shown))
    step_at = shown[slip_at]
    wrong = (values[step_at] + slip_rng.randrange(1, MODULUS)) % MODULUS
    slipped = [*values[:step_at], wrong, *run_steps(wrong, chain.steps[step_at + 1 :])]
    right_part = "".join(f"{values[index]}, " for index in shown[:slip_at])
    return (
        Passage(text="Quick: " + right_part),
        Passage(text=_joined([slipped[index] for index in shown[slip_at:]]), learned=False),
        check,
    )


def _strided(items: Sequence[int], stride: int) -> list[int]:
    """Every `stride`-th item, and the last."""
    return [item for number, item in enumerate(items, 1) if number % stride == 0 or number == len(items)]


def _joined(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)


def _written_out(chain: Chain) -> str:
    befores = [chain.start, *chain.values]
    return "; ".join(
        f"{before}{step}={after}"
        for before, step, after in zip(befores, chain.steps, chain.values, strict=False)
    )
