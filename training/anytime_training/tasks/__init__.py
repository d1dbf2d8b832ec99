"""Problems to train and evaluate on: drawing them, grading answers, thinking them through.

Imports no torch, and the libraries of single tasks only when such a task is first used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from anytime_training.tasks.arithmetic import ChainProblem, ChainTask
from anytime_training.tasks.base import FiniteTask, Problem, Split, Task, draw_distinct, grade_all, split_of
from anytime_training.tasks.custom import CustomTask
from anytime_training.tasks.dataset import DatasetTask
from anytime_training.tasks.gym import GymTask
from anytime_training.tasks.traces import TraceMix

_KINDS = [task.model_fields["kind"].default for task in (ChainTask, DatasetTask, GymTask, CustomTask)]


def _known_kind(value: Any) -> Any:
    """Tell an unknown kind in a reader's words, before pydantic does in its own."""
    if isinstance(value, Mapping) and value.get("kind") not in _KINDS:
        kind = value.get("kind")
        raise PydanticCustomError(
            "task_kind",
            "kind must be one of {known}{given}",
            {"known": ", ".join(_KINDS), "given": "" if kind is None else f", not {kind!r}"},
        )
    return value


TaskSection = Annotated[
    Annotated[ChainTask | DatasetTask | GymTask | CustomTask, Field(discriminator="kind")],
    BeforeValidator(_known_kind),
]
"""The `[task]` table of a recipe: its `kind` says which task."""

__all__ = [
    "ChainProblem",
    "ChainTask",
    "CustomTask",
    "DatasetTask",
    "FiniteTask",
    "GymTask",
    "Problem",
    "Split",
    "Task",
    "TaskSection",
    "TraceMix",
    "draw_distinct",
    "grade_all",
    "split_of",
]
