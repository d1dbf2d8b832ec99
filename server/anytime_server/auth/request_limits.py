"""Defaults and maxima that an operator sets for requests: of the server, of an API key, of an alias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_TOKENS = 10**9
DAY_MS = 24 * 60 * 60 * 1000

Budget = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
AnswerTokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Milliseconds = Annotated[int, Field(ge=1, le=DAY_MS)]


class RequestLimits(BaseModel):
    """Values for requests that have none, and the largest that requests may have."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    default_budget: Budget | None = None
    """Thinking tokens of requests that have no budget; by default all that fits."""
    max_budget: Budget | None = None
    """Maximum thinking tokens of a request, grace included. A larger budget is lowered and reported."""
    default_deadline_ms: Milliseconds | None = None
    """Deadline of requests that have none, in milliseconds."""
    max_deadline_ms: Milliseconds | None = None
    """Maximum deadline of a request, in milliseconds; also of requests that have none."""
    default_answer_tokens: AnswerTokens | None = None
    """Maximum answer tokens of requests that have no limit; by default all that the window leaves."""
    max_answer_tokens: AnswerTokens | None = None
    """Maximum answer tokens of a request. No room is kept for them."""


def combined(layers: Sequence[RequestLimits]) -> RequestLimits:
    """The limits of several layers together: the first default that is set, and the smallest maxima."""
    found: dict[str, int | None] = {}
    for field in RequestLimits.model_fields:
        given = [value for layer in layers if (value := getattr(layer, field)) is not None]
        if given:
            found[field] = given[0] if field.startswith("default_") else min(given)
    return RequestLimits.model_validate(found)
