"""Custom tasks: any Python object with the methods of a task, named in the recipe."""

from __future__ import annotations

import contextlib
import importlib
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from anytime_server.printable import is_encodable
from pydantic import Field

from anytime_training.errors import RecipeError, TrainingFailed
from anytime_training.tasks.base import Problem, Split, Task, TaskTable

_importing = threading.Lock()
_running: dict[object, tuple[str, float]] = {}
"""Calls of custom code in progress: the name of each, and the time at which it began."""

MAX_MESSAGE_CHARACTERS = 300
"""Length of a custom task's exception in an error message."""


def hanging_call(*, since: float, limit_s: float) -> str | None:
    """Name of a call of custom code that has run for `limit_s` seconds, not counting those before `since`.

    Args:
        since: a time of `time.monotonic()`.
    """
    now = time.monotonic()
    calls = list(_running.values())
    return next((name for name, began in calls if now - max(began, since) >= limit_s), None)


class CustomTask(TaskTable):
    """A task from a Python module.

    `entry` is called with `options` and returns an object with the two methods of `tasks.base.Task`:
    `sample(rng, split)`, which keeps the splits apart, and `grade(problem, answer_text)`, which
    never raises and may be called from several threads at once.
    """

    kind: Literal["python"] = "python"
    """Kind of the task."""
    entry: str = Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$")
    """`package.module:attribute`, imported from the current folder or from the installed packages."""
    options: dict[str, Any] = Field(default={})
    """Keyword arguments of the attribute."""

    def sample(self, rng: random.Random, split: Split = "train") -> Problem:
        """Draw a problem of that split.

        Raises:
            RecipeError: the entry cannot be imported, or is not a task.
            TrainingFailed: its `sample` raised an exception.
        """
        task = self._task
        with self._naming_failures("sample"):
            problem = task.sample(rng, split=split)
        if not isinstance(problem, Problem):
            raise RecipeError(
                f"task.entry: {self.entry} sampled a {type(problem).__name__}, "
                "not an anytime_training.tasks.Problem"
            )
        for field in fields(Problem):
            value: Any = getattr(problem, field.name)
            if not isinstance(value, str) or not is_encodable(value):
                raise RecipeError(
                    f"task.entry: {self.entry} sampled a problem whose {field.name} is not text that can be "
                    f"encoded: {repr(value)[:MAX_MESSAGE_CHARACTERS]}"
                )
        return problem

    def grade(self, problem: Problem, answer_text: str) -> bool:
        """Whether the custom task grades the text as right.

        Raises:
            TrainingFailed: its `grade` raised an exception or returned something else than true or false.
        """
        task = self._task
        with self._naming_failures("grade"):
            verdict: Any = task.grade(problem, answer_text)
            plain = verdict.item() if hasattr(verdict, "item") else verdict  # a scalar of numpy or torch
        if not isinstance(plain, bool | int | float) or plain not in (0, 1):  # NaN would be true
            returned = repr(verdict)[:MAX_MESSAGE_CHARACTERS]
            raise TrainingFailed(f"task.entry: {self.entry}.grade returned {returned}, not True or False")
        return bool(plain)

    def accepted_answers(self, problem: Problem) -> tuple[str, ...]:
        """The custom task's own list of right answers, which is optional.

        Raises:
            RecipeError: it has no method `accepted_answers`.
            TrainingFailed: the method raised an exception, or returned something else than texts.
        """
        list_answers: Any = getattr(self._task, "accepted_answers", None)
        if not callable(list_answers):
            raise RecipeError(
                f"task.entry: the task of {self.entry} has no method accepted_answers, "
                "which likelihoods of right answers need"
            )
        with self._naming_failures("accepted_answers"):
            answers: Any = list_answers(problem)
            listed = () if isinstance(answers, str) else tuple(answers)
        if isinstance(answers, str) or not all(isinstance(one, str) and is_encodable(one) for one in listed):
            returned = repr(answers)[:MAX_MESSAGE_CHARACTERS]
            raise TrainingFailed(f"task.entry: {self.entry}.accepted_answers returned {returned}, not texts")
        return listed

    @contextlib.contextmanager
    def _naming_failures(self, method: str) -> Iterator[None]:
        """Within the context, an exception of the custom code becomes a `TrainingFailed` that names it.

        So does `SystemExit`, which would otherwise end the run as if it had succeeded.
        """
        name = f"task.entry: {self.entry}.{method}"
        try:
            with _in_progress(name):
                yield
        except (RecipeError, TrainingFailed, KeyboardInterrupt):
            raise  # from a built-in task that the custom task uses, or from the user
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"[:MAX_MESSAGE_CHARACTERS]
            raise TrainingFailed(f"{name} raised {message}") from error

    @cached_property
    def _task(self) -> Task[Problem]:
        module_name, _, attribute = self.entry.partition(":")
        with _current_folder_first(), _in_progress(f"task.entry: the import of {module_name}"):
            try:
                module = importlib.import_module(module_name)
            except (Exception, SystemExit) as error:  # importing a module may raise anything
                raise RecipeError(
                    f"task.entry: {module_name} cannot be imported: {type(error).__name__}: {error}"
                ) from error
            make = getattr(module, attribute, None)
            if make is None:
                raise RecipeError(f"task.entry: {module_name} has no {attribute}")
            if not callable(make):
                raise RecipeError(f"task.entry: {self.entry} is a {type(make).__name__}: it cannot be called")
            try:
                task: Any = make(**self.options)
            except (Exception, SystemExit) as error:
                raise RecipeError(
                    f"task.options: {self.entry} refuses them: {type(error).__name__}: {error}"
                ) from error
        for method in ("sample", "grade"):
            if not callable(getattr(task, method, None)):
                raise RecipeError(
                    f"task.entry: {self.entry} returned a {type(task).__name__}, which has no method {method}"
                )
        return task


@contextlib.contextmanager
def _in_progress(name: str) -> Iterator[None]:
    """Within the context, `hanging_call` knows of this call of custom code."""
    call = object()
    _running[call] = name, time.monotonic()
    try:
        yield
    finally:
        del _running[call]


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    """Import from the current folder first, as `python -m` does."""
    folder = str(Path.cwd())
    with _importing:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)
