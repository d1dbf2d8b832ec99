"""Tasks of reasoning-gym, an optional library of generated problems with their own graders.

Its graders return partial scores, some even for wrong answers (0.01 in Countdown), and some evaluate the text
as an expression. So scores are compared with a threshold here, and computed in processes that can be killed.
"""

from __future__ import annotations

import dataclasses
import difflib
import random
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from anytime_training.errors import RecipeError
from anytime_training.tasks.base import Problem, Split, TaskTable, split_of
from anytime_training.tasks.grader_pool import shared_pool

MAX_CHARACTERS = 20_000
"""Characters of a text that are graded, from its end: some answers are whole grids."""

MAX_DRAWS = 1000
"""Problems drawn, at most, to find one in the requested split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GymProblem(Problem):
    """A problem with the data that its dataset needs to score an answer."""

    entry: dict[str, Any] = field(compare=False, repr=False)
    """The entry of the reasoning-gym dataset."""


class GymTask(TaskTable):
    """One dataset of reasoning-gym; needs the extra `gym`."""

    kind: Literal["gym"] = "gym"
    """Kind of the task."""
    dataset: str = Field(min_length=1)
    """Name of the dataset in reasoning-gym."""
    config: dict[str, Any] = Field(default={})
    """Options of the dataset, except `seed` and `size`."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the problems."""
    size: PositiveInt = 10_000
    """Number of problems, over all splits. With a large number, some datasets take long to set up."""
    threshold: float = Field(default=1.0, gt=0, le=1)
    """The lowest score of a right answer."""
    timeout_s: PositiveFloat = 5.0
    """Seconds after which an answer that is still being graded counts as wrong."""

    @model_validator(mode="after")
    def _own_keys(self) -> GymTask:
        if taken := {"seed", "size"} & set(self.config):
            raise ValueError(f"config: {' and '.join(sorted(taken))} must be keys of the task, not of config")
        return self

    def sample(self, rng: random.Random, split: Split = "train") -> GymProblem:
        """Draw problems until one is in that split, by a hash of its question.

        Raises:
            RecipeError: the dataset or its options are unknown, reasoning-gym is not installed,
                or none of `MAX_DRAWS` problems is in that split.
        """
        for _ in range(MAX_DRAWS):
            entry = self._problems[rng.randrange(self.size)]
            if split_of(entry["question"]) == split:
                answer = entry["answer"]
                return GymProblem(
                    content=entry["question"],
                    prompt=entry["question"],
                    answer="" if answer is None else str(answer),
                    entry=entry,
                )
        raise RecipeError(
            f"task.size: none of {MAX_DRAWS} problems of {self.dataset!r} is in the {split} split; "
            f"it has too few distinct problems"
        )

    def grade(self, problem: Problem, answer_text: str) -> bool:
        """Whether the dataset's score of the text, without surrounding white space, reaches the threshold."""
        assert isinstance(problem, GymProblem), "only this task's own problems can be graded"
        text = answer_text[-MAX_CHARACTERS:].strip()
        if not text:
            return False
        pool = shared_pool("gym", {"dataset": self.dataset, "options": self._options})
        return pool.score(problem.entry, text, limit_s=self.timeout_s) >= self.threshold

    @property
    def _options(self) -> dict[str, Any]:
        return {**self.config, "seed": self.seed, "size": self.size}

    @cached_property
    def _problems(self) -> Any:
        """The dataset; errors name the key of the recipe."""
        try:
            import reasoning_gym
            from reasoning_gym.factory import DATASETS
        except ImportError as error:
            raise RecipeError(
                "task.kind: 'gym' needs reasoning-gym: pip install 'anytime-reasoner[gym]'"
            ) from error
        if self.dataset not in DATASETS:
            raise RecipeError(
                f"task.dataset: reasoning-gym has no {self.dataset!r}{_like(self.dataset, DATASETS)}"
            )
        known = [option.name for option in dataclasses.fields(DATASETS[self.dataset][1])]
        for option in self.config:
            if option not in known:
                raise RecipeError(
                    f"task.config.{option}: not an option of {self.dataset!r}{_like(option, known)}"
                )
        try:
            return reasoning_gym.create_dataset(self.dataset, **self._options)
        except Exception as error:  # checks are assertions, and wrong types raise arbitrary errors
            raise RecipeError(f"task.config: {self.dataset!r} refuses it: {error}") from error


def _like(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; there is {', '.join(close)}" if close else ""
