"""What a task is: a source of problems, and a judge of answers to them.

Knows no model and no tokenizer: prompts and answers are texts.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

Split = Literal["train", "test"]

TEST_SHARE = 0.1
"""Share of all problem contents that is kept for evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question with its one right answer."""

    content: str
    """What is asked, whatever the wording: problems of equal content are the same problem."""
    prompt: str
    """The user's message."""
    answer: str
    """The right answer."""


ProblemT = TypeVar("ProblemT", bound=Problem)


class Task(Protocol[ProblemT]):
    """A family of problems."""

    def sample(self, rng: random.Random, split: Split = "train") -> ProblemT:
        """Draw a problem of that split, with `rng` as the only source of chance."""
        ...

    def grade(self, problem: ProblemT, answer_text: str) -> bool:
        """Whether the text is the right answer. Never raises, whatever a model wrote."""
        ...


def split_of(content: str) -> Split:
    """The split that a content belongs to, by a hash of it: the same in every run and on every machine."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return "test" if int.from_bytes(digest[:4], "big") < TEST_SHARE * 2**32 else "train"
