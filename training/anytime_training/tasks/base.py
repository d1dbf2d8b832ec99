"""What a task is: a source of problems, and a judge of answers to them.

Knows no model and no tokenizer: prompts and answers are texts.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar, runtime_checkable

from anytime_training.section import Section

Split = Literal["train", "validation", "test"]

TEST_SHARE = 0.1
"""Share of all problem contents that is kept for evaluation."""

VALIDATION_SHARE = 0.05
"""Share that is kept for choosing between checkpoints while training goes on."""

INLINE_S = 0.02
"""Grading that is done within this needs no threads."""

MAX_REPEATS = 1000
"""Draws in a row, at most, that bring nothing new while problems that differ are looked for."""


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
        """Draw a problem of that split, with `rng` as the only source of chance. Called from one thread."""
        ...

    def grade(self, problem: ProblemT, answer_text: str) -> bool:
        """Whether the text is the right answer.

        Never raises, whatever a model wrote. Called from several threads at once: what it shares
        between calls, if anything, it must guard.
        """
        ...


@runtime_checkable
class FiniteTask(Protocol):
    """What a task has besides where it can list its problems."""

    def problems(self, split: Split) -> Sequence[Problem]:
        """All problems of a split, some of which may be the same.

        Raises:
            RecipeError: there are none.
        """
        ...


class TaskTable(Section):
    """A task that is the `[task]` table of a recipe, and may keep what it has read in cached properties."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, without what was read: other values may name something else."""
        copy = super().model_copy(update=update, deep=deep)
        for name in set(vars(copy)) - set(type(self).model_fields):
            del vars(copy)[name]
        return copy


def split_of(
    content: str, *, test_share: float = TEST_SHARE, validation_share: float = VALIDATION_SHARE
) -> Split:
    """The split that a content belongs to, by a hash of it: the same in every run and on every machine.

    The test split has the lowest hashes and the validation split those above it, so that what is
    in the test split does not depend on `validation_share`.
    """
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    number = int.from_bytes(digest[:4], "big")
    if number < test_share * 2**32:
        return "test"
    return "validation" if number < (test_share + validation_share) * 2**32 else "train"


def draw_distinct(task: Task[Any], count: int, rng: random.Random, split: Split) -> list[Problem]:
    """Up to `count` problems, no two of equal content: as many as there are, or can be found.

    Raises:
        RecipeError: there are none.
    """
    if isinstance(task, FiniteTask):
        listed: dict[str, Problem] = {}
        for problem in task.problems(split):
            listed.setdefault(problem.content, problem)
        return rng.sample(list(listed.values()), min(count, len(listed)))
    found: dict[str, Problem] = {}
    num_repeats = 0
    while len(found) < count and num_repeats < MAX_REPEATS:
        problem = task.sample(rng, split)
        num_repeats = num_repeats + 1 if problem.content in found else 0
        found.setdefault(problem.content, problem)
    return list(found.values())


def grade_all(task: Task[ProblemT], pairs: Sequence[tuple[ProblemT, str]], *, num_threads: int) -> list[bool]:
    """Grade answers to problems, equal ones once, in the order given.

    Grading starts in the calling thread. A task that has not got through within `INLINE_S` gets
    `num_threads` threads for the rest: so a grader of microseconds pays for no threads, one that
    waits on processes keeps several of them busy, and no task has to say which it is. With
    `num_threads` of 0 or 1 all is graded in the calling thread.
    """
    keys = [(problem.content, problem.answer, text) for problem, text in pairs]
    waiting = list(dict(zip(keys, pairs, strict=True)).items())
    verdicts: dict[tuple[str, str, str], bool] = {}
    deadline = time.perf_counter() + INLINE_S
    num_inline = 0
    for key, (problem, text) in waiting:
        if num_threads > 1 and time.perf_counter() > deadline:
            break
        verdicts[key] = task.grade(problem, text)
        num_inline += 1
    if rest := waiting[num_inline:]:
        with ThreadPoolExecutor(min(num_threads, len(rest)), thread_name_prefix="grade") as threads:
            graded = threads.map(lambda item: task.grade(*item[1]), rest)
            verdicts.update(zip((key for key, _ in rest), graded, strict=True))
    return [verdicts[key] for key in keys]
