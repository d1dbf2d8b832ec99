"""How a session ended, on the wire: the same objects in the native dialect and in every `anytime` object."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from anytime_server.reasoning import Cause
from anytime_server.session import events
from anytime_server.types import IgnoredFields


class Record(BaseModel):
    """Part of a response."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, from_attributes=True
    )


class Stop(Record):
    """Why the thinking stopped."""

    cause: Cause
    budget_tokens: int
    """Budget that applied, in tokens."""
    thinking_tokens: int
    """Tokens sampled as thinking, a sampled think-end included."""


class Usage(Record):
    """Tokens, counted exactly."""

    prompt_tokens: int
    """Prompt, with thinking opened."""
    thinking_tokens: int
    """Sampled as thinking."""
    inserted_tokens: int
    """Inserted at the truncation."""
    answer_tokens: int
    """Sampled for the answer, an end-of-turn token and any blank attempts before it included."""
    provisional_tokens: int
    """Sampled as early (provisional) answers."""
    cached_tokens: int
    """Tokens of the answer's prompt (prompt, thinking, inserted) found in the prefix cache."""


class Timing(Record):
    """Seconds; all but `cut_to_answer_s` from the request's arrival."""

    time_to_first_token_s: float
    """To the first token sampled, of thinking or answer."""
    cut_to_answer_s: float
    """From the end of the thinking to the first token of the answer."""
    time_to_answer_s: float
    """To the first token of the answer."""
    total_s: float
    """To the last token of the answer."""


class AnytimeObject(Record):
    """Facts that the dialect has no field for, as in the native dialect's `done`."""

    stop: Stop
    timing: Timing
    usage: Usage
    continuation: str | None
    """To be sent back to resume the thinking."""
    ignored: list[str] = []
    """Fields of the request that had no effect."""


def anytime_object(done: events.Done, ignored: IgnoredFields) -> dict[str, Any]:
    """The `anytime` object of a response."""
    fields = AnytimeObject.model_validate(done).model_dump(mode="json")
    return fields | {"ignored": ignored.fields}
