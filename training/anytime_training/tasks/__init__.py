"""Problems to train and evaluate on: drawing them, grading answers, thinking them through."""

from anytime_training.tasks.arithmetic import ChainProblem, ChainTask
from anytime_training.tasks.base import Problem, Split, Task, split_of
from anytime_training.tasks.traces import TraceMix

__all__ = ["ChainProblem", "ChainTask", "Problem", "Split", "Task", "TraceMix", "split_of"]
