"""Request fields that several dialects share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticSerializationError, to_json

from anytime_server.api.schema.nulls import with_nulls, without_nulls
from anytime_server.auth.request_limits import DAY_MS
from anytime_server.printable import is_encodable
from anytime_server.reasoning import Forcing, LoopRule
from anytime_server.types import BudgetShare, StopWhen

MAX_BUDGETS = 64
MAX_SHARE = 100
MAX_GRACE = 4096
"""Tokens; no sentence is longer."""
MAX_TOOLS = 1024
MAX_ITEMS = 4096
"""In any list, also in a conversation, whatever `--max-messages` allows."""
MAX_FIELDS = 128
"""In any object whose fields have meanings; the requests with the most have half of that."""
DEEPER = 32
"""Levels of nesting that a prompt or a response adds around an object of the client's."""


def whole_characters(text: str) -> str:
    """Pass text that can be encoded: JSON can contain half of a surrogate pair."""
    if not is_encodable(text):
        raise ValueError("must be text, but has half of a surrogate pair")
    return text


def written_again(value: dict[str, Any]) -> dict[str, Any]:
    """Pass an object that can be written into a prompt or a response, which nest it deeper."""
    nested: Any = value
    for _ in range(DEEPER):
        nested = [nested]
    try:
        whole_characters(json.dumps(nested, ensure_ascii=False))
        to_json(nested)  # which writes responses, and does not nest as deeply
    except (RecursionError, PydanticSerializationError):
        raise ValueError("is nested too deeply") from None
    return value


Item = TypeVar("Item")
BoundedList = Annotated[list[Item], Field(max_length=MAX_ITEMS, fail_fast=True)]
"""A list that costs little to refuse: only its first invalid item is reported.

A smaller limit is `Annotated[BoundedList[...], Field(max_length=...)]`: one beside a default has no effect.
"""
Text = Annotated[str, AfterValidator(whole_characters)]
JsonObject = Annotated[dict[str, Any], AfterValidator(written_again)]
"""A JSON object of the client's that is rendered into the prompt, or returned."""
LIKELIEST_ALONE = 1e-6
"""A `top_p` that only the likeliest token is in, for 0, which engines do not take."""


def _likeliest_alone(top_p: float) -> float:
    return top_p or LIKELIEST_ALONE


Temperature = Annotated[float, Strict(), Field(ge=0, le=2)]
TopP = Annotated[float, Strict(), Field(ge=0, le=1), AfterValidator(_likeliest_alone)]
Seed = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
AtLeastOne = Annotated[StrictInt, Field(ge=1)]


def _limit(value: Any) -> Any:
    return None if value == -1 and isinstance(value, int) else value


Limit = Annotated[AtLeastOne | None, BeforeValidator(_limit, int | None)]
"""A limit on tokens, which llama.cpp and LM Studio write as -1 where there is none."""


def few_fields(value: Any) -> Any:
    """Pass a value that is no object of too many fields."""
    if isinstance(value, dict) and len(value) > MAX_FIELDS:
        raise ValueError(f"must not have more than {MAX_FIELDS} fields")
    return value


class Fields(BaseModel):
    """Part of a request. Names of unknown fields are kept, to be reported (see `ignored.py`). `null` is the
    absence of a field that may be left out."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    unserved_because: ClassVar[str | None] = None
    """Why the whole object is ignored, and reported; None for one that has an effect."""

    _unknown: tuple[str, ...] = PrivateAttr(())

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of fields that have no meaning here."""
        return self._unknown

    @property
    def misplaced(self) -> Mapping[str, str]:
        """Fields that are given and have no effect beside the others, by name on the wire, and why."""
        return {}

    @model_validator(mode="wrap")
    @classmethod
    def _note_unknown(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        fields = validate(without_nulls(few_fields(value), cls))
        if isinstance(value, dict) and cls.model_config.get("extra") != "allow":
            names = _names(cls)
            fields._unknown = tuple(
                str(name) for name, one in value.items() if one is not None and name not in names
            )
        return fields

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler(core_schema)
        with_nulls(handler.resolve_ref_schema(schema))
        return schema


@cache
def _names(kind: type[Fields]) -> frozenset[str]:
    """Fields of a class, by their names on the wire."""
    return frozenset(info.alias or name for name, info in kind.model_fields.items())


class BudgetFields(Fields):
    """How long to think; whichever is reached first."""

    tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    """The most thinking tokens; 0 answers at once. Exact."""
    share: Annotated[float, Strict(), Field(ge=0, le=MAX_SHARE)] | None = None
    """The most thinking tokens as a share of the number that `of` names, rounded down."""
    of: Literal["prompt", "max_tokens"] | None = Field(default=None, validate_default=True)
    """The number that `share` is multiplied by: the prompt's tokens (the default), or `max_tokens`."""
    grace: Annotated[StrictInt, Field(ge=0, le=MAX_GRACE)] | None = None
    """The most tokens over the budget, to the end of a sentence or line. `tokens` + `grace` is exact."""
    deadline_ms: Annotated[StrictInt, Field(ge=1, le=DAY_MS)] | None = None
    """Milliseconds from the request's arrival by which the last token of the answer is due."""

    @field_validator("of")
    @classmethod
    def _belongs_to_share(cls, of: str | None, info: ValidationInfo) -> str | None:
        share = info.data.get("share")
        if of is not None and "share" in info.data and share is None:
            raise ValueError("is useless without share")
        if of == "max_tokens" and share is not None and share > 1:
            raise ValueError("a share of max_tokens cannot be over 1")
        return of

    def generate_fields(self) -> dict[str, Any]:
        """The fields of a `GenerateRequest` that these are, but for `tokens`."""
        share = None if self.share is None else BudgetShare(share=self.share, of=self.of or "prompt")
        return {
            "budget_share": share,
            "grace_tokens": self.grace or 0,
            "deadline_s": None if self.deadline_ms is None else self.deadline_ms / 1000,
        }


def _number_or_object(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("must not be negative")
        return {"tokens": value}
    if value is not None and not isinstance(value, dict | BudgetFields):
        raise ValueError(
            "must be a whole number of tokens, or an object with tokens, share, grace or deadline_ms"
        )
    return value


Budget = Annotated[BudgetFields | None, BeforeValidator(_number_or_object, int | BudgetFields | None)]
"""Thinking tokens, or an object such as `{"tokens": 512, "grace": 32, "deadline_ms": 2000}`."""


def _ascending(budgets: list[int]) -> list[int]:
    if len(set(budgets)) < len(budgets):
        raise ValueError("must not name a budget twice")
    return sorted(budgets)


Budgets = Annotated[
    BoundedList[Annotated[StrictInt, Field(ge=0)]], Field(max_length=MAX_BUDGETS), AfterValidator(_ascending)
]
"""Thinking tokens at which to give provisional answers."""


class LoopFields(Fields):
    """A repetition loop in the thinking: one phrase of up to 256 tokens, again and again."""

    repeats: Annotated[StrictInt, Field(ge=2, le=1000)] = LoopRule().repeats
    """Times in a row that the phrase must occur."""
    min_tokens: Annotated[StrictInt, Field(ge=2, le=100_000)] = LoopRule().min_tokens
    """Tokens that these must have together."""


def _true_or_object(value: Any) -> Any:
    if value is True or value is False:
        return LoopFields() if value else NO_LOOP
    if value is not None and not isinstance(value, dict | LoopFields):
        raise ValueError("must be true, false, or an object with repeats and min_tokens")
    return value


NO_LOOP = LoopFields()
"""Stands for `false`."""
Loop = Annotated[LoopFields | None, BeforeValidator(_true_or_object, bool | LoopFields | None)]


class StopWhenFields(Fields):
    """Stop thinking once provisional answers agree, or at a repetition loop, whichever is first."""

    stable: Annotated[StrictInt, Field(ge=2, le=1000)] | None = None
    """How many provisional answers in a row must agree; needs `every_tokens`."""
    every_tokens: AtLeastOne | None = Field(default=None, validate_default=True)
    """Thinking tokens from one to the next; needs `stable`."""
    min_confidence: Annotated[float, Strict(), Field(ge=0, le=1)] = 0.0
    """Mean probability of its tokens below which an answer agrees with none."""
    loop: Loop = None
    """True, or what counts as a repetition loop; false for never. Default: the server's `--stop-loops`."""

    @field_validator("every_tokens")
    @classmethod
    def _belongs_to_stable(cls, every_tokens: int | None, info: ValidationInfo) -> int | None:
        if "stable" in info.data and (info.data["stable"] is None) != (every_tokens is None):
            raise ValueError("is required beside stable, and useless without it")
        return every_tokens

    @model_validator(mode="after")
    def _says_when(self) -> StopWhenFields:
        if self.stable is None and self.loop is None:
            raise ValueError("must have stable and every_tokens, or loop")
        return self

    def generate_fields(self) -> dict[str, Any]:
        """The fields of a `GenerateRequest` that these are."""
        fields: dict[str, Any] = {}
        if self.stable is not None and self.every_tokens is not None:
            fields["stop_when"] = StopWhen(
                stable=self.stable, every_tokens=self.every_tokens, min_confidence=self.min_confidence
            )
        if self.loop is not None:
            fields["stop_loop"] = self.loop is not NO_LOOP and LoopRule(**self.loop.model_dump())
        return fields


def text_or_parts(content: Any, part: type[BaseModel], part_type: str) -> Any:
    """Content as a list of parts: a string becomes one text part. Before validation.

    Args:
        part: a model with the fields `type` and `text`.
        part_type: the `type` of a text part.
    """
    if isinstance(content, str):
        return [part.model_construct(type=part_type, text=whole_characters(content))]
    if not isinstance(content, list):
        raise ValueError("must be a string or a list of text parts")
    return content


def of_type(
    value: Any, served: Mapping[str, type[Fields]], what: str, *, otherwise: type[Fields] | None = None
) -> Any:
    """An object validated as its `type` says: pydantic's union would put the type into an error's field.

    Args:
        served: classes by `type`.
        what: noun for an error, with its article.
        otherwise: for any other type; None refuses it.
    """
    if isinstance(value, Fields):
        return value
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    kind = value.get("type")
    known = served.get(kind, otherwise) if isinstance(kind, str) else otherwise
    if known is None:
        raise ValueError(f"{what} of type {str(kind)[:40]!r} is not served here, only {', '.join(served)}")
    return known.model_validate(value)


class AnytimeFields(Fields):
    """The `anytime` object of a request: what another dialect has no fields for."""

    budget: Budget = None
    """As in the native dialect: tokens, or an object with `tokens`, `share`, `grace` and `deadline_ms`."""
    stop_when: StopWhenFields | None = None
    """As in the native dialect: stop once provisional answers agree, which are not shown, or at a loop."""
    continuation: StrictStr | None = None
    """From an earlier response's `anytime` object: resume its thinking, the budget counted on top."""
    forcing: Forcing | None = None
    """How the model is made to answer after a truncation: `close` the thinking, or `force` its lead-in."""

    def generate_fields(self) -> dict[str, Any]:
        """The fields of a `GenerateRequest` that these are, but for the budget's tokens."""
        return {
            **(self.budget or BudgetFields()).generate_fields(),
            "continuation": self.continuation,
            "forcing": self.forcing,
            **(self.stop_when.generate_fields() if self.stop_when else {}),
        }

    @property
    def budget_fields(self) -> dict[str, int | None]:
        """The budget in tokens by its field, if there is any."""
        tokens = None if self.budget is None else self.budget.tokens
        return {} if tokens is None else {"anytime.budget": tokens}
