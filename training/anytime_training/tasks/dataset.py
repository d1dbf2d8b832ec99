"""The dataset task: problems from a file, with questions in one column and answers in another."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from anytime_server.printable import is_encodable
from pydantic import Field, PositiveFloat, field_validator, model_validator

from anytime_training.errors import RecipeError
from anytime_training.section import Share
from anytime_training.tasks.base import TEST_SHARE, VALIDATION_SHARE, Problem, Split, TaskTable, split_of
from anytime_training.tasks.math_grader import is_math_equal
from anytime_training.tasks.rows import UnreadableRows, read_rows


class DatasetTask(TaskTable):
    """Problems from a file or folder, which is read when the first problem is drawn."""

    kind: Literal["dataset"] = "dataset"
    """Kind of the task."""
    path: Path
    """A `.jsonl`, `.json` (one object to a line), `.parquet` or `.csv` file, a folder of these, or a folder
    written by `save_to_disk` of Hugging Face `datasets`; relative to the current folder."""
    test_path: Path | None = None
    """Likewise, with the problems of the test split, which are then excluded from `path`."""
    prompt_column: str = Field(default="prompt", min_length=1)
    """Column of the questions."""
    answer_column: str = Field(default="answer", min_length=1)
    """Column of the right answers: texts or numbers."""
    prompt_template: str = "{prompt}"
    """The prompt, with `{prompt}` for the question. Other braces are literal."""
    validation_share: Share = VALIDATION_SHARE
    """Share of the problems of `path` in the validation split."""
    test_share: Share = TEST_SHARE
    """Share of the problems of `path` in the test split; not with `test_path`."""
    grader: Literal["math", "exact"] = "math"
    """`math`: mathematically equal. `exact`: the same text, apart from surrounding white space."""
    timeout_s: PositiveFloat = 5.0
    """Seconds after which an answer that is still being graded counts as wrong."""

    @field_validator("prompt_template")
    @classmethod
    def _has_prompt(cls, template: str) -> str:
        if "{prompt}" not in template:
            raise ValueError("must have {prompt} where the question goes")
        return template

    @model_validator(mode="after")
    def _shares_add_up(self) -> DatasetTask:
        if self.test_path is not None and "test_share" in self.model_fields_set:
            raise ValueError("test_share and test_path exclude each other")
        if self.validation_share + (self.test_share if self.test_path is None else 0) > 1:
            raise ValueError("validation_share and test_share must not be above 1 together")
        return self

    def sample(self, rng: random.Random, split: Split = "train") -> Problem:
        """Draw a row of that split.

        Raises:
            RecipeError: the file cannot be used, or has no row in that split.
        """
        return rng.choice(self.problems(split))

    def problems(self, split: Split) -> Sequence[Problem]:
        """All problems of a split, in the order of the file, perhaps with repeats.

        Raises:
            RecipeError: the file cannot be used, or has no row in that split.
        """
        if problems := self._splits[split]:
            return problems
        share = {
            "train": "",
            "validation": f": task.validation_share is {self.validation_share:g}",
            "test": f": task.test_share is {self.test_share:g}",
        }[split]
        raise RecipeError(f"task.path: no row of {self.path} falls in the {split} split{share}")

    def grade(self, problem: Problem, answer_text: str) -> bool:
        """Whether the text is the right answer, according to `grader`."""
        if self.grader == "exact":
            return answer_text.strip() == problem.answer
        return is_math_equal(problem.answer, answer_text, timeout_s=self.timeout_s)

    def accepted_answers(self, problem: Problem) -> tuple[str, ...]:
        """The answer of the row; with `grader = "math"` other texts are right as well."""
        return (problem.answer,)

    @cached_property
    def _splits(self) -> Mapping[Split, Sequence[Problem]]:
        splits: dict[Split, list[Problem]] = {split: [] for split in get_args(Split)}
        if self.test_path is not None:
            splits["test"] = self._read("test_path", self.test_path)
        held_out = {problem.content for problem in splits["test"]}
        test_share = self.test_share if self.test_path is None else 0.0
        for problem in self._read("path", self.path):
            # By the question alone, so that the split does not depend on the template.
            split = split_of(problem.content, test_share=test_share, validation_share=self.validation_share)
            if problem.content not in held_out:
                splits[split].append(problem)
        return splits

    def _read(self, key: str, path: Path) -> list[Problem]:
        problems: list[Problem] = []
        try:
            for location, (prompt, answer) in read_rows(path, (self.prompt_column, self.answer_column)):
                if not isinstance(prompt, str):
                    raise UnreadableRows(_wrong_type(location, self.prompt_column, "text", prompt))
                text = _answer_text(answer)
                if text is None:
                    raise UnreadableRows(
                        _wrong_type(location, self.answer_column, "text or a number", answer)
                    )
                for column, value in ((self.prompt_column, prompt), (self.answer_column, text)):
                    if not value.strip():
                        raise UnreadableRows(f"{location}: column {column!r} is blank")
                    if not is_encodable(value):
                        raise UnreadableRows(f"{location}: column {column!r} is not valid Unicode")
                problems.append(
                    Problem(
                        content=prompt, prompt=self.prompt_template.replace("{prompt}", prompt), answer=text
                    )
                )
        except UnreadableRows as error:
            raise RecipeError(f"task.{key}: {error}") from error
        if not problems:
            raise RecipeError(f"task.{key}: {path} is empty")
        return problems


def _answer_text(answer: Any) -> str | None:
    """The answer as text, or None where it is neither text nor a finite number."""
    if isinstance(answer, str):
        return answer.strip()
    if isinstance(answer, bool) or not isinstance(answer, int | float | Decimal):
        return None
    if isinstance(answer, int):
        return str(answer)
    if not Decimal(answer).is_finite():
        return None
    # A column of whole numbers is often stored as floats because a value is missing.
    return str(int(answer)) if answer == int(answer) else str(answer)


def _wrong_type(location: str, column: str, wanted: str, value: Any) -> str:
    given = "missing" if value is None else f"{type(value).__name__} {value!r}"[:80]
    return f"{location}: column {column!r} must be {wanted}; it is {given}"
