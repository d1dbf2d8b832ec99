"""Tasks: sources of problems, and the graders of their answers.

Imports no torch, and the libraries of single tasks only when such a task is first used.
"""

from anytime_training.tasks.base import (
    FiniteTask,
    ListingTask,
    Problem,
    Split,
    Task,
    draw_distinct,
    grade_all,
    split_of,
)
from anytime_training.tasks.custom import CustomTask
from anytime_training.tasks.dataset import DatasetTask
from anytime_training.tasks.gym import GymTask

__all__ = [
    "CustomTask",
    "DatasetTask",
    "FiniteTask",
    "GymTask",
    "ListingTask",
    "Problem",
    "Split",
    "Task",
    "draw_distinct",
    "grade_all",
    "split_of",
]
