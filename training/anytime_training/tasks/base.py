"""The interface of a task: a source of problems, and a grader of their answers.

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
"""Share of all problem contents that is held out for evaluation."""

VALIDATION_SHARE = 0.05
"""Share that is held out for evaluations during training."""

INLINE_S = 0.02
"""Seconds of grading after which threads are used."""

MAX_REPEATS = 1000
"""Consecutive draws without a new problem after which the search for distinct problems ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with its right answer."""

    content: str
    """The question without its wording: problems with the same content are the same problem."""
    prompt: str
    """The user's message."""
    answer: str
    """The right answer."""


ProblemT = TypeVar("ProblemT", bound=Problem)


class Task(Protocol[ProblemT]):
    """A family of problems."""

    def sample(self, rng: random.Random, split: Split = "train") -> ProblemT:
        """Draw a problem of that split; all randomness is from `rng`. Called from one thread."""
        ...

    def grade(self, problem: ProblemT, answer_text: str) -> bool:
        """Whether the text is the right answer.

        Must not raise for any text. Called from several threads at once: state that calls share needs a lock.
        """
        ...


@runtime_checkable
class FiniteTask(Protocol):
    """A task that can list its problems."""

    def problems(self, split: Split) -> Sequence[Problem]:
        """All problems of a split, perhaps with repeats.

        Raises:
            RecipeError: the split is empty.
        """
        ...


@runtime_checkable
class ListingTask(Protocol):
    """A task that can list right answers of a problem."""

    def accepted_answers(self, problem: Any) -> Sequence[str]:
        """Texts that `grade` accepts; other texts may be right as well.

        Raises:
            RecipeError: a task that wraps another one, which cannot list them.
        """
        ...

    def grade(self, problem: Any, answer_text: str) -> bool:
        """As in `Task`."""
        ...


class TaskTable(Section):
    """A task that is the `[task]` table of a recipe, and may have cached properties."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy without cached values, which may depend on the updated fields."""
        copy = super().model_copy(update=update, deep=deep)
        for name in set(vars(copy)) - set(type(self).model_fields):
            del vars(copy)[name]
        return copy


def split_of(
    content: str, *, test_share: float = TEST_SHARE, validation_share: float = VALIDATION_SHARE
) -> Split:
    """The split of a problem, by a hash of its content: the same in every run and on every machine.

    The test split has the lowest hashes and the validation split those above it, so that the test split does
    not depend on `validation_share`.
    """
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    number = int.from_bytes(digest[:4], "big")
    if number < test_share * 2**32:
        return "test"
    return "validation" if number < (test_share + validation_share) * 2**32 else "train"


def draw_distinct(task: Task[Any], count: int, rng: random.Random, split: Split) -> list[Problem]:
    """Up to `count` problems with distinct contents; fewer where the split has no more.

    Raises:
        RecipeError: the split is empty.
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
    """Grade answers to problems, in the order given. Equal pairs are graded once.

    Grading starts in the calling thread; after `INLINE_S`, `num_threads` threads grade the rest. So a fast
    grader needs no threads, and a grader that waits for processes keeps several of them busy. With
    `num_threads` of 0 or 1 the calling thread grades everything.
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
