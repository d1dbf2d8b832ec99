"""The countdown task: reach a target with four numbers, in several wordings, as an expression or as JSON."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from anytime_training.demo.countdown.puzzle import MAX_VALUE, Attempt, Opening, openings, solves
from anytime_training.demo.written import WrittenProblem
from anytime_training.errors import RecipeError
from anytime_training.section import Section, Share
from anytime_training.tasks.base import Problem, Split, split_of

MAX_DRAWS = 2_000
"""Draws of numbers after which the search for a puzzle ends."""

_QUESTIONS = (
    "Use {numbers} to make {target}.",
    "Make {target} from {numbers}.",
    "Reach {target} with {numbers}.",
    "Reach {target} with the numbers {numbers}.",
    "How do you get {target} from {numbers}?",
    "Can you make {target} with {numbers}?",
)
_LIST_SHARE = 0.2
_LISTS = ("Numbers: {listed}. Target: {target}.", "{listed} -> {target}")
_RULES = ("", "", "", " Use each number once.", " Use every number exactly once.")
_JSON_REQUESTS = (" Answer as JSON.", " Reply in JSON.", " Give expression and value as JSON.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountdownProblem(WrittenProblem):
    """A puzzle and its solutions."""

    numbers: tuple[int, ...]
    """In the order of the prompt."""
    target: int
    as_json: bool
    """Whether the prompt asks for JSON."""
    openings: tuple[Opening, ...]
    """All first steps, right and wrong."""
    solutions: tuple[Attempt, ...]
    """The attempts that reach the target; there may be other solutions."""

    def answer_for(self, attempt: Attempt) -> str:
        """The answer that gives this attempt."""
        return _answer(attempt, as_json=self.as_json)


class CountdownTask(Section):
    """Puzzles of four numbers with few first steps that lead to the target."""

    kind: Literal["countdown"] = "countdown"
    """Kind of the task."""
    min_number: PositiveInt = 2
    """The smallest number."""
    max_number: PositiveInt = 15
    """The largest number."""
    min_target: PositiveInt = 20
    """The smallest target."""
    max_target: int = Field(default=99, ge=1, le=MAX_VALUE)
    """The largest target."""
    min_openings: PositiveInt = 1
    """The fewest openings, first steps, that lead to the target."""
    max_openings: PositiveInt = 2
    """The most openings that lead to the target."""
    json_share: Share = 0.06
    """Share of the prompts that ask for JSON."""

    @model_validator(mode="after")
    def _holds_together(self) -> CountdownTask:
        for low, high in (
            ("min_number", "max_number"),
            ("min_target", "max_target"),
            ("min_openings", "max_openings"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} must not be above {high}")
        return self

    def sample(self, rng: random.Random, split: Split = "train") -> CountdownProblem:
        """Draw numbers and one of the targets that they reach until the puzzle is in that split.

        Raises:
            RecipeError: hardly any numbers reach a target as the settings have it.
        """
        for _ in range(MAX_DRAWS):
            numbers = tuple(rng.randint(self.min_number, self.max_number) for _ in range(4))
            tried = openings(numbers)
            solutions: dict[int, list[Attempt]] = {}
            leading: dict[int, set[Opening]] = {}
            for opening in tried:
                for attempt in (attempt for _, attempts in opening.branches() for attempt in attempts):
                    solutions.setdefault(attempt.value, []).append(attempt)
                    leading.setdefault(attempt.value, set()).add(opening)
            targets = [
                target
                for target, found in sorted(leading.items())
                if self.min_target <= target <= self.max_target
                and self.min_openings <= len(found) <= self.max_openings
            ]
            if not targets:
                continue
            target = rng.choice(targets)
            content = f"{','.join(map(str, sorted(numbers)))}->{target}"
            if split_of(content) == split:
                break
        else:
            raise RecipeError(f"task: of {MAX_DRAWS} draws of numbers, none had a target in these ranges")
        as_json = rng.random() < self.json_share
        wording = "list" if rng.random() < _LIST_SHARE else "question"
        return CountdownProblem(
            content=content,
            prompt=_prompt(numbers, target, wording, rng) + (rng.choice(_JSON_REQUESTS) if as_json else ""),
            wording=f"{wording}, json" if as_json else wording,
            answer=_answer(solutions[target][0], as_json=as_json),
            numbers=numbers,
            target=target,
            as_json=as_json,
            openings=tuple(tried),
            solutions=tuple(solutions[target]),
        )

    def grade(self, problem: Problem, answer_text: str) -> bool:
        """Whether the text is a solution, any of them; as JSON where the prompt asks for it."""
        assert isinstance(problem, CountdownProblem)
        expression = answer_text
        if problem.as_json:
            try:
                answer = json.loads(answer_text)
            except (ValueError, RecursionError):
                return False
            if not isinstance(answer, dict) or answer.keys() != {"expression", "value"}:
                return False
            expression = answer["expression"]
            if answer["value"] != problem.target or not isinstance(expression, str):
                return False
        return solves(expression, problem.numbers, problem.target)

    def accepted_answers(self, problem: Problem) -> tuple[str, ...]:
        """The solutions that take the numbers one after the other; `grade` accepts others too."""
        assert isinstance(problem, CountdownProblem)
        return tuple(dict.fromkeys(problem.answer_for(solution) for solution in problem.solutions))


def _answer(attempt: Attempt, *, as_json: bool) -> str:
    if not as_json:
        return attempt.expression
    return json.dumps({"expression": attempt.expression, "value": attempt.value})


def _prompt(numbers: tuple[int, ...], target: int, wording: str, rng: random.Random) -> str:
    *most, last = map(str, numbers)
    spoken = f"{', '.join(most)} and {last}"
    listed = ", ".join(map(str, numbers))
    text = rng.choice(_LISTS if wording == "list" else _QUESTIONS)
    return text.format(numbers=spoken, listed=listed, target=target) + rng.choice(_RULES)
