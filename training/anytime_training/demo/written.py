"""Thinking as it is written for supervised training: passages, and the answer known after each of them.

Knows neither a task nor a tokenizer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol, TypeVar

from anytime_training.tasks.base import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenProblem(Problem):
    """A problem that traces are written for."""

    wording: str
    """Name of the wording."""


ProblemT_contra = TypeVar("ProblemT_contra", bound=WrittenProblem, contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a trace."""

    text: str
    learned: bool = True
    """False for text that is context only, such as a slip."""
    is_conclusion: bool = False
    """Whether the text follows from what is before it. Conclusions are few, and weigh as much as answers."""
    answer: str | None = None
    """The answer that is given from the end of this passage on; None keeps the answer before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Thinking on a problem, without the think-end."""

    passages: tuple[Passage, ...]
    first_answer: str
    """The answer where thinking is truncated before a passage with an answer has ended."""

    @property
    def text(self) -> str:
        """The whole thinking."""
        return "".join(passage.text for passage in self.passages)


class TraceSource(Protocol[ProblemT_contra]):
    """Draws traces for the problems of a task."""

    def sample(self, problem: ProblemT_contra, rng: random.Random) -> Trace:
        """A trace for one problem; all randomness is from `rng`."""
        ...
