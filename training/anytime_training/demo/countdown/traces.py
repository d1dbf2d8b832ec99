"""Thinking that searches: one attempt after the other, until one reaches the target.

    big     Big: target = 75; 8 x 7 = 56 + 3 = 59 - 2 = 57 low;    begins with a product
    small   Small: target = 75; 8 + 3 = 11 x 7 = 77 - 2 = 75 yes!  begins with a sum or difference
    quick   Quick: target = 75; 8 + 3 x 7 - 2 = 75 yes!            writes the last result alone

The target is written as the results are: a small model compares equal tokens more easily. Steps are taken
from left to right. An attempt ends with a verdict: `low`, `high`, `near` (within `NEAR` of the target) or
`yes`. A solution is checked with each result written; then the search for another one goes on, or the
thinking ends. The answer where thinking is truncated is the latest solution; before there is one, the latest
near attempt; before that, the latest attempt.
"""

from __future__ import annotations

import random
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt, model_validator

from anytime_training.demo.arithmetic import Operation
from anytime_training.demo.countdown.puzzle import Attempt
from anytime_training.demo.countdown.task import CountdownProblem
from anytime_training.demo.written import Passage, Trace
from anytime_training.section import Section, Share

Style = Literal["big", "small", "quick"]

NEAR = 3
"""The distance from the target up to which an attempt is near."""

_RANKS = {"low;": 0, "high;": 0, "near;": 1, "yes!": 2}
"""An answer gives way to an attempt whose verdict is as good or better."""


class SearchMix(Section):
    """Draws traces of countdown puzzles in a mixture of styles.

    Where no attempt suits the style, it takes any.
    """

    kind: Literal["countdown"] = "countdown"
    """Kind of the task that the traces are for."""
    big_weight: NonNegativeFloat = 1.0
    """Weight of the style that multiplies first."""
    small_weight: NonNegativeFloat = 1.0
    """Weight of the style that adds or subtracts first."""
    quick_weight: NonNegativeFloat = 1.0
    """Weight of the style that writes no results between."""
    max_attempts: PositiveInt = 34
    """Attempts after which the search is given up; the quick style has a third more."""
    stop_share: Share = 0.2
    """Share of the checks after which the thinking ends."""

    @model_validator(mode="after")
    def _some_style(self) -> SearchMix:
        if not self.big_weight + self.small_weight + self.quick_weight:
            raise ValueError("at least one weight must be above 0")
        return self

    def sample(self, problem: CountdownProblem, rng: random.Random) -> Trace:
        """A trace of one puzzle. No attempt occurs twice."""
        weights = (self.big_weight, self.small_weight, self.quick_weight)
        style: Style = rng.choices(("big", "small", "quick"), weights)[0]
        suitable = [attempt for attempt in problem.attempts if _suits(attempt, style)]
        tried = suitable or list(problem.attempts)
        rng.shuffle(tried)
        del tried[self.max_attempts * 4 // 3 if style == "quick" else self.max_attempts :]
        best = tried[0]
        passages = [Passage(text=f"{style.capitalize()}: target = {problem.target}; ")]
        for number, attempt in enumerate(tried, 1):
            verdict = _verdict(attempt, problem)
            if _RANKS[verdict] >= _RANKS[_verdict(best, problem)]:
                best = attempt
            is_last = number == len(tried)
            passages += [
                Passage(text=_quick(attempt) if style == "quick" else _written_out(attempt)),
                Passage(text=f" {verdict} ", is_conclusion=True, answer=problem.answer_for(best)),
            ]
            if verdict == "yes!":
                is_last = is_last or rng.random() < self.stop_share
                passages.append(
                    Passage(text=f"Check: {_written_out(attempt)} right{'.' if is_last else '. More: '}")
                )
            if is_last:
                break
        return Trace(passages=tuple(passages), first_answer=problem.answer_for(tried[0]))


def _verdict(attempt: Attempt, problem: CountdownProblem) -> str:
    difference = attempt.value - problem.target
    if difference == 0:
        return "yes!"
    if abs(difference) <= NEAR:
        return "near;"
    return "low;" if difference < 0 else "high;"


def _suits(attempt: Attempt, style: Style) -> bool:
    return style == "quick" or (style == "big") == (attempt.steps[0].operation is Operation.TIMES)


def _quick(attempt: Attempt) -> str:
    steps = " ".join(f"{step.operation} {step.operand}" for step in attempt.steps)
    return f"{attempt.first} {steps} = {attempt.value}"


def _written_out(attempt: Attempt) -> str:
    steps = zip(attempt.steps, attempt.values, strict=True)
    return f"{attempt.first} " + " ".join(
        f"{step.operation} {step.operand} = {value}" for step, value in steps
    )
