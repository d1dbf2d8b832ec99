"""What can go wrong in training, told without a traceback."""

from __future__ import annotations


class RecipeError(ValueError):
    """A recipe, or a run's folder, that cannot be trained with; the message names the key."""


class TrainingFailed(RuntimeError):
    """Training that cannot go on; what was saved before is as it was."""
