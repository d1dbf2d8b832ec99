"""Thinking that searches: opening by opening, every attempt after it, until one reaches the target.

    Big: target = 75
    8 x 7 = 56; x 2 = 112: + 3 = 115 high - 3 = 109 high + 3 = 59: x 2 = 118 high + 2 = 61 low ...
    8 + 3 = 11; x 7 = 77: + 2 = 79 high - 2 = 75 yes! Check: 8 + 3 = 11 x 7 = 77 - 2 = 75 right.

A line has an opening; then each second step, and after it each third step with its verdict: `low`, `high`,
`near` (within `NEAR` of the target) or `yes!`. The choices are the order of the openings, by style, and the
words before them; all else follows. A style tries openings of a kind first: `Big` products, `Small` sums
and differences, `Any` all alike. The target is written as the results are: a small model compares equal
tokens more easily. After a solution, the search goes on with the next opening, or the thinking ends.

The answer where thinking is truncated is the latest solution; before there is one, the latest near attempt;
before that, the latest attempt.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt, model_validator

from anytime_training.demo.arithmetic import Operation, Step
from anytime_training.demo.countdown.puzzle import Attempt, Opening
from anytime_training.demo.countdown.task import CountdownProblem
from anytime_training.demo.written import Passage, Trace
from anytime_training.section import Section, Share

Style = Literal["Big", "Small", "Any"]

NEAR = 3
"""The distance from the target up to which an attempt is near."""

_RANKS = {"low": 0, "high": 0, "near": 1, "yes!": 2}
"""An answer gives way to an attempt whose verdict is as good or better."""


class SearchMix(Section):
    """Draws traces of countdown puzzles in a mixture of styles."""

    kind: Literal["countdown"] = "countdown"
    """Kind of the task that the traces are for."""
    big_weight: NonNegativeFloat = 1.0
    """Weight of the style that tries products first."""
    small_weight: NonNegativeFloat = 1.0
    """Weight of the style that tries sums and differences first."""
    any_weight: NonNegativeFloat = 1.0
    """Weight of the style that tries openings in any order."""
    restate_share: Share = 0.5
    """Share of the traces that repeat the numbers before they search."""
    max_openings: PositiveInt = 7
    """Openings after which the search is given up."""
    stop_share: Share = 0.2
    """Share of the solutions after which the thinking ends."""

    @model_validator(mode="after")
    def _some_style(self) -> SearchMix:
        if not self.big_weight + self.small_weight + self.any_weight:
            raise ValueError("at least one weight must be above 0")
        return self

    def sample(self, problem: CountdownProblem, rng: random.Random) -> Trace:
        """A trace of one puzzle. Openings that do not suit the style come after those that do."""
        weights = (self.big_weight, self.small_weight, self.any_weight)
        style: Style = rng.choices(("Big", "Small", "Any"), weights)[0]
        tried = rng.sample(problem.openings, len(problem.openings))
        tried.sort(key=lambda opening: not _suits(opening, style))
        restated = ""
        if rng.random() < self.restate_share:
            *most, last = map(str, problem.numbers)
            restated = f"the numbers are {', '.join(most)} and {last}; "
        passages = [Passage(text=f"{style}: {restated}target = {problem.target}")]
        best = first = tried[0].branches()[0][1][0]
        for opening in tried[: self.max_openings]:
            passages.append(Passage(text=f"\n{opening.first}{_result(opening.step, opening.value)};"))
            is_solved = False
            for attempt, is_first in _numbered(opening):
                text = _result(attempt.steps[2], attempt.value)
                if is_first:
                    text = f"{_result(attempt.steps[1], attempt.values[1])}:{text}"
                verdict = _verdict(attempt, problem)
                if _RANKS[verdict] >= _RANKS[_verdict(best, problem)]:
                    best = attempt
                passages += [
                    Passage(text=text),
                    Passage(text=f" {verdict}", is_conclusion=True, answer=problem.answer_for(best)),
                ]
                if is_solved := verdict == "yes!":
                    passages.append(Passage(text=f" Check: {_written_out(attempt)} right."))
                    break
            if is_solved and rng.random() < self.stop_share:
                break
        return Trace(passages=tuple(passages), first_answer=problem.answer_for(first))


def _suits(opening: Opening, style: Style) -> bool:
    return style == "Any" or (style == "Big") == (opening.step.operation is Operation.TIMES)


def _numbered(opening: Opening) -> Iterator[tuple[Attempt, bool]]:
    """Attempts after an opening, each with whether it is the first with its second step."""
    for _, attempts in opening.branches():
        for number, attempt in enumerate(attempts):
            yield attempt, number == 0


def _verdict(attempt: Attempt, problem: CountdownProblem) -> str:
    difference = attempt.value - problem.target
    if difference == 0:
        return "yes!"
    if abs(difference) <= NEAR:
        return "near"
    return "low" if difference < 0 else "high"


def _result(step: Step, value: int) -> str:
    return f" {step.operation} {step.operand} = {value}"


def _written_out(attempt: Attempt) -> str:
    steps = zip(attempt.steps, attempt.values, strict=True)
    return f"{attempt.first}" + "".join(_result(step, value) for step, value in steps)
