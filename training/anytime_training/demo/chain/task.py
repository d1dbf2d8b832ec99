"""The chain task: follow a chain of operations modulo 10, in any wording.

Answers are close to uniform over the ten digits: operands of + and - are uniform, most
multipliers (3, 7, 9) permute the digits, and the last is never even.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, NonNegativeFloat, model_validator

from anytime_training.demo.arithmetic import Operation, Step
from anytime_training.demo.chain.chain import Chain
from anytime_training.demo.chain.wordings import Wording, bare, instructions, question, story
from anytime_training.demo.written import WrittenProblem
from anytime_training.section import Section
from anytime_training.tasks.base import Problem, Split, split_of

MULTIPLIER_WEIGHTS = {2: 3, 3: 4, 4: 1, 6: 1, 7: 4, 8: 1, 9: 4}
"""0, 1 and 5 are left out: the answer, or half of it, would not depend on the chain before them."""

LOWER_CASE_SHARE = 0.08
"""Share of the prompts in lower case."""

_WORDINGS: dict[str, Wording] = {
    "bare": bare,
    "question": question,
    "instructions": instructions,
    "story": story,
}
_OPERATION_WEIGHTS = {Operation.PLUS: 4, Operation.MINUS: 4, Operation.TIMES: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainProblem(WrittenProblem):
    """A problem and its chain."""

    chain: Chain


class ChainTask(Section):
    """Chains of a range of lengths, in a mixture of wordings."""

    kind: Literal["chain"] = "chain"
    """Kind of the task."""
    min_operands: int = Field(default=4, ge=2)
    """The fewest numbers in a chain, including the start."""
    max_operands: int = Field(default=12, ge=2)
    """The most numbers in a chain."""
    bare_weight: NonNegativeFloat = 0.3
    """Weight of the bare expression."""
    question_weight: NonNegativeFloat = 0.3
    """Weight of a question around the expression."""
    instructions_weight: NonNegativeFloat = 0.3
    """Weight of step-by-step instructions."""
    story_weight: NonNegativeFloat = 0.1
    """Weight of a short story."""

    @model_validator(mode="after")
    def _holds_together(self) -> ChainTask:
        if self.min_operands > self.max_operands:
            raise ValueError("min_operands must not be above max_operands")
        if not self.bare_weight + self.question_weight + self.instructions_weight + self.story_weight:
            raise ValueError("at least one weight must be above 0")
        return self

    def sample(self, rng: random.Random, split: Split = "train") -> ChainProblem:
        """Draw chains until one is in that split, then word it."""
        while True:
            chain = self._sample_chain(rng)
            if split_of(chain.content) == split:
                break
        weights = (self.bare_weight, self.question_weight, self.instructions_weight, self.story_weight)
        wording = rng.choices(list(_WORDINGS), weights)[0]
        prompt = _WORDINGS[wording](chain, rng)
        return ChainProblem(
            content=chain.content,
            prompt=prompt.lower() if rng.random() < LOWER_CASE_SHARE else prompt,
            answer=str(chain.values[-1]),
            chain=chain,
            wording=wording,
        )

    def grade(self, problem: Problem, answer_text: str) -> bool:
        """Whether the text is the answer's digit, apart from white space and closing punctuation."""
        return answer_text.strip().rstrip(string.punctuation + string.whitespace) == problem.answer

    def accepted_answers(self, problem: Problem) -> tuple[str, ...]:
        """The digit."""
        return (problem.answer,)

    def _sample_chain(self, rng: random.Random) -> Chain:
        num_steps = rng.randint(self.min_operands, self.max_operands) - 1
        steps = [_sample_step(rng, is_last=number == num_steps - 1) for number in range(num_steps)]
        return Chain(start=rng.randint(0, 9), steps=tuple(steps))


def _sample_step(rng: random.Random, *, is_last: bool) -> Step:
    operation = rng.choices(list(_OPERATION_WEIGHTS), list(_OPERATION_WEIGHTS.values()))[0]
    if operation is not Operation.TIMES:
        return Step(operation=operation, operand=rng.randint(0, 9))
    weights = {
        multiplier: weight
        for multiplier, weight in MULTIPLIER_WEIGHTS.items()
        if not is_last or multiplier % 2 == 1
    }
    return Step(operation=operation, operand=rng.choices(list(weights), list(weights.values()))[0])
