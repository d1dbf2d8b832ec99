"""A custom task: continue a sequence of digits.

Owns the problems, the two ways of thinking that the warm start teaches, and the grader. Knows nothing about
models. `anytime train` and `anytime evaluate` import the task by `entry` in the recipe.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from anytime_training.tasks import Problem, Split, split_of

NAMES = "abcdefghi"
NUM_GIVEN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceProblem(Problem):
    """A problem, with the sequence up to its answer."""

    digits: tuple[int, ...]
    """The given digits come first, the answer last."""


class SequenceTask:
    """Given three digits, each further digit is the sum of the last and the third last, modulo 10."""

    def sample(self, rng: random.Random, split: Split = "train") -> SequenceProblem:
        """Draw problems until one belongs to the split."""
        while True:
            digits = [rng.randrange(10) for _ in range(NUM_GIVEN)]
            asked = rng.choice(NAMES[NUM_GIVEN:])
            content = f"{digits} {asked}"
            if split_of(content) == split:
                break
        given = ", ".join(f"{name}={digit}" for name, digit in zip(NAMES, digits, strict=False))
        while len(digits) <= NAMES.index(asked):
            digits.append((digits[-1] + digits[-3]) % 10)
        return SequenceProblem(
            content=content,
            prompt=f"{given}; next is last plus third last, modulo 10. What is {asked}?",
            answer=str(digits[-1]),
            digits=tuple(digits),
        )

    def grade(self, problem: Problem, answer_text: str) -> bool:
        """Whether the text is the correct digit."""
        return answer_text.strip() == problem.answer


def quick(problem: SequenceProblem) -> str:
    """Thinking with two tokens per digit: `d5e2f4`."""
    named = zip(NAMES, problem.digits, strict=False)
    return "".join(f"{name}{digit}" for name, digit in list(named)[NUM_GIVEN:])


def slow(problem: SequenceProblem) -> str:
    """Thinking with eight tokens per digit: `d=2+3=5; e=5+7=2; f=2+2=4`."""
    digits = problem.digits
    return "; ".join(
        f"{NAMES[n]}={digits[n - 1]}+{digits[n - 3]}={digits[n]}" for n in range(NUM_GIVEN, len(digits))
    )
