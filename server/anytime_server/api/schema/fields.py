"""Request fields that several dialects share."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StrictInt,
    StrictStr,
)

from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import Forcing
from anytime_server.types import StopWhen

DAY_MS = 24 * 60 * 60 * 1000
MAX_BUDGETS = 64
MAX_TOOLS = 128
DEEPER = 32
"""Levels that a prompt or a response, and what writes it, have around an object of the client's."""


def whole_characters(text: str) -> str:
    """The same text, if it can be encoded: JSON can say half of a surrogate pair."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be text, but has half of a surrogate pair")
    return text


def written_again(value: dict[str, Any]) -> dict[str, Any]:
    """The same object, if it can be written into a prompt or a response, which nest it deeper."""
    nested: Any = value
    for _ in range(DEEPER):
        nested = [nested]
    try:
        whole_characters(json.dumps(nested, ensure_ascii=False))
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return value


Text = Annotated[str, AfterValidator(whole_characters)]
JsonObject = Annotated[dict[str, Any], AfterValidator(written_again)]
"""Any JSON object of the client's that the model is shown, or the client again."""
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


def _ascending(budgets: list[int]) -> list[int]:
    if len(set(budgets)) < len(budgets):
        raise ValueError("must not name a budget twice")
    return sorted(budgets)


Budgets = Annotated[
    list[Annotated[StrictInt, Field(ge=0)]], Field(max_length=MAX_BUDGETS), AfterValidator(_ascending)
]
"""Thinking tokens at which to give provisional answers."""


class StopWhenFields(Fields):
    """Stop thinking once provisional answers agree."""

    stable: Annotated[StrictInt, Field(ge=2, le=1000)]
    """How many in a row must."""
    every_tokens: AtLeastOne
    """Thinking tokens from one to the next."""
    min_confidence: Annotated[float, Strict(), Field(ge=0, le=1)] = 0.0
    """Mean probability of its tokens below which an answer agrees with none."""

    def settled(self) -> StopWhen:
        return StopWhen(**self.model_dump())


class JsonSchema(Fields):
    """A JSON schema as OpenAI wraps it."""

    name: Text | None = None
    description: Text | None = None
    schema_: JsonObject | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Fields):
    """What form the answer must have; the thinking is free."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @property
    def schema_text(self) -> str | None:
        """JSON Schema that the answer must match, as JSON; None for any text.

        Raises:
            InvalidRequest: there is none where there must be one, or one where there must not.
        """
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise InvalidRequest(
                "json_schema is required for the type json_schema, and for no other",
                field="answer.response_format.json_schema",
            )
        if self.type == "text":
            return None
        if self.json_schema is None or self.json_schema.schema_ is None:
            return '{"type":"object"}'
        return json.dumps(self.json_schema.schema_)


def sampling(*, temperature: float | None, top_p: float | None) -> dict[str, Any]:
    """The fields of a `GenerateRequest` for a given temperature and nucleus, of thinking and answer alike."""
    given = {
        "thinking_temperature": temperature,
        "thinking_top_p": top_p,
        "answer_temperature": temperature,
        "answer_top_p": top_p,
    }
    return {field: value for field, value in given.items() if value is not None}


class AnytimeFields(Fields):
    """What the fields of another dialect cannot say: the `anytime` object of a request."""

    budget: Budget = None
    """As in the native dialect: tokens, or an object with `tokens` and `deadline_ms`."""
    stop_when: StopWhenFields | None = None
    """As in the native dialect: stop once provisional answers agree. They are not shown."""
    continuation: StrictStr | None = None
    """From an earlier response's `anytime` object: think on from there, the budget counted on top."""
    forcing: Forcing | None = None
    """How the model is brought to answer at a cut: `close` the thinking, or `force` its trained lead-in."""

    def for_question(self) -> dict[str, Any]:
        """The fields of a `GenerateRequest` that these are, but for the budget's tokens."""
        return {
            "deadline_s": self.budget and self.budget.deadline_s,
            "stop_when": self.stop_when and self.stop_when.settled(),
            "continuation": self.continuation,
            "forcing": self.forcing,
        }

    @property
    def asked_tokens(self) -> dict[str, int]:
        """The budget's tokens by the field that they are in, where it has any."""
        tokens = None if self.budget is None else self.budget.tokens
        return {} if tokens is None else {"anytime.budget": tokens}
