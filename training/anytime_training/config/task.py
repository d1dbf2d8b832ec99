"""The `[task]` table of a recipe: every kind of task that a recipe can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from anytime_training.demo.chain.task import ChainTask
from anytime_training.demo.countdown.task import CountdownTask
from anytime_training.tasks import CustomTask, DatasetTask, GymTask

_KINDS = [
    task.model_fields["kind"].default for task in (ChainTask, CountdownTask, DatasetTask, GymTask, CustomTask)
]


def _known_kind(value: Any) -> Any:
    """Refuse an unknown kind with a shorter message than pydantic's own."""
    if isinstance(value, Mapping) and value.get("kind") not in _KINDS:
        kind = value.get("kind")
        raise PydanticCustomError(
            "task_kind",
            "kind must be one of {known}{given}",
            {"known": ", ".join(_KINDS), "given": "" if kind is None else f", not {kind!r}"},
        )
    return value


TaskSection = Annotated[
    Annotated[ChainTask | CountdownTask | DatasetTask | GymTask | CustomTask, Field(discriminator="kind")],
    BeforeValidator(_known_kind),
]
"""The table's `kind` selects the task."""
