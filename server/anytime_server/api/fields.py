"""Request fields that several dialects share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, StrictInt

DAY_MS = 24 * 60 * 60 * 1000


def whole_characters(text: str) -> str:
    """The same text, if it can be encoded: JSON can say half of a surrogate pair."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be text, but has half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(whole_characters)]
Temperature = Annotated[float, Strict(), Field(ge=0, le=2)]
TopP = Annotated[float, Strict(), Field(gt=0, le=1)]
Seed = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
AtLeastOne = Annotated[StrictInt, Field(ge=1)]


class Fields(BaseModel):
    """Part of a request; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class BudgetFields(Fields):
    """How long to think; whichever is reached first."""

    tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    """The most thinking tokens; 0 answers at once. Exact."""
    deadline_ms: Annotated[StrictInt, Field(ge=1, le=DAY_MS)] | None = None
    """Milliseconds from the request's arrival by which the last token of the answer is due."""

    @property
    def deadline_s(self) -> float | None:
        return None if self.deadline_ms is None else self.deadline_ms / 1000


def _number_or_object(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("must not be negative")
        return {"tokens": value}
    if value is not None and not isinstance(value, dict | BudgetFields):
        raise ValueError("must be a whole number of tokens or an object with tokens and deadline_ms")
    return value


Budget = Annotated[BudgetFields | None, BeforeValidator(_number_or_object, int | BudgetFields | None)]
"""Thinking tokens, or an object with `tokens` and `deadline_ms`."""
