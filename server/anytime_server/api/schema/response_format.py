"""The form that a request gives its answer, under its many names: a schema, an expression, choices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, ValidationInfo, field_validator

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import BoundedList, Fields, JsonObject, Text
from anytime_server.engine.constraint import Constraint
from anytime_server.types import IgnoredFields

MAX_CHOICES = 1024
ANY_OBJECT = '{"type":"object"}'
OF_SCHEMAS = ("type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "$defs")
"""Keywords by which a JSON schema is recognised where OpenAI has an object around it."""


class JsonSchema(Fields):
    """A JSON schema as OpenAI wraps it."""

    name: Text | None = None
    description: Text | None = None
    schema_: JsonObject | None = Field(default=None, alias="schema")
    strict: bool | None = None
    """No effect: the answer is held to the schema in any case."""


class ResponseFormat(Fields):
    """The form that the answer must have; the thinking is free."""

    type: Literal["text", "json_object", "json_schema"]
    schema_: JsonObject | None = Field(default=None, alias="schema")
    """llama.cpp's place of the schema."""
    json_schema: JsonSchema | None = Field(default=None, validate_default=True)

    @field_validator("json_schema", mode="before")
    @classmethod
    def _wrapped(cls, value: Any) -> Any:
        if isinstance(value, dict) and "schema" not in value and any(name in value for name in OF_SCHEMAS):
            return {"schema": value}
        return value

    @field_validator("json_schema")
    @classmethod
    def _belongs_to_its_type(cls, json_schema: JsonSchema | None, info: ValidationInfo) -> JsonSchema | None:
        has_schema = json_schema is not None or info.data.get("schema_") is not None
        if info.data.get("type") == "json_schema" and not has_schema:
            raise ValueError("is required for the type json_schema")
        if info.data.get("type") in ("text", "json_object") and json_schema is not None:
            raise ValueError("is only for the type json_schema")
        return json_schema

    @property
    def constraint(self) -> Constraint | None:
        """The constraint of the answer; None for any text."""
        if self.type == "text":
            return None
        schema = self.schema_ if self.json_schema is None else self.json_schema.schema_
        return Constraint("json_schema", ANY_OBJECT if schema is None else json.dumps(schema))

    @property
    def schema_field(self) -> str:
        """Field within this one that the schema is in."""
        return "schema" if self.json_schema is None else "json_schema.schema"


def _schema(value: Any) -> Any:
    """A JSON schema as an object, which may be given as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("must be a JSON schema, as an object or as its JSON text") from None


SchemaOrText = Annotated[JsonObject, BeforeValidator(_schema, JsonObject | str)]


def _not_blank(choices: list[str]) -> list[str]:
    """The choices that can be an answer, which is never blank."""
    found = [choice for choice in choices if choice.strip()]
    if not found:
        raise ValueError("must have a choice that is not blank")
    return found


def _without_nul(pattern: str) -> str:
    if "\0" in pattern:
        raise ValueError("must not have a NUL character")
    return pattern


Choices = Annotated[
    BoundedList[Text], Field(min_length=1, max_length=MAX_CHOICES), AfterValidator(_not_blank)
]
Pattern = Annotated[Text, Field(min_length=1), AfterValidator(_without_nul)]
Grammar = Annotated[Text, AfterValidator(_without_nul)]


class StructuredOutputs(Fields):
    """vLLM's: one of several kinds of constraints."""

    json_: SchemaOrText | None = Field(default=None, alias="json")
    regex: Pattern | None = None
    choice: Choices | None = None
    grammar: Grammar | None = None
    json_object: StrictBool | None = None
    disable_any_whitespace: NoEffect = None
    """There is no white space in any case."""
    disable_additional_properties: NoEffect = None

    def constraints(self) -> Iterator[tuple[str, Constraint]]:
        yield from _given(json=self.json_, regex=self.regex, choice=self.choice, grammar=self.grammar)
        if self.json_object:
            yield "json_object", Constraint("json_schema", ANY_OBJECT)


class ConstraintFields(Fields):
    """All fields by which the clients of several servers constrain an answer."""

    response_format: ResponseFormat | None = None
    """The form that the answer must have; the thinking is free."""
    structured_outputs: StructuredOutputs | None = None
    """vLLM's."""
    guided_json: SchemaOrText | None = None
    """An earlier name of vLLM's `structured_outputs.json`; so are the others."""
    guided_regex: Pattern | None = None
    guided_choice: Choices | None = None
    guided_grammar: Grammar | None = None
    guided_decoding_backend: NoEffect = None
    json_schema: SchemaOrText | None = None
    """llama.cpp's and SGLang's."""
    grammar: Grammar | None = None
    """llama.cpp's: a grammar in GBNF."""
    regex: Pattern | None = None
    """SGLang's."""
    ebnf: Grammar | None = None
    """SGLang's name of a grammar."""

    def constraint(self, ignored: IgnoredFields) -> tuple[Constraint | None, str]:
        """The constraint of the answer, None for any text, and the field that has it. It is the first that is
        given; others are reported unless they are the same.

        Raises:
            NotSupported: there are others, and the server is strict.
        """
        given = list(self._constraints())
        if not given:
            return None, "response_format"
        field, constraint = given[0]
        for other_field, other in given[1:]:
            if other != constraint:
                ignored.add(other_field, f"has no effect beside {field}")
        return constraint, field

    def _constraints(self) -> Iterator[tuple[str, Constraint]]:
        form = self.response_format
        if form is not None and (constraint := form.constraint) is not None:
            yield f"response_format.{form.schema_field}", constraint
        if self.structured_outputs is not None:
            for name, constraint in self.structured_outputs.constraints():
                yield f"structured_outputs.{name}", constraint
        guided = _given(
            json=self.guided_json,
            regex=self.guided_regex,
            choice=self.guided_choice,
            grammar=self.guided_grammar,
        )
        yield from ((f"guided_{name}", constraint) for name, constraint in guided)
        for name, constraint in _given(json=self.json_schema, regex=self.regex, grammar=self.grammar):
            yield "json_schema" if name == "json" else name, constraint
        yield from (("ebnf", constraint) for _, constraint in _given(grammar=self.ebnf))


def _given(
    *,
    json: dict[str, Any] | None = None,
    regex: str | None = None,
    choice: list[str] | None = None,
    grammar: str | None = None,
) -> Iterator[tuple[str, Constraint]]:
    """Constraints by their names among vLLM's."""
    if json is not None:
        yield "json", Constraint("json_schema", _text(json))
    if regex is not None:
        yield "regex", Constraint("regex", regex)
    if choice is not None:
        yield "choice", Constraint("choice", _text(choice))
    if grammar and grammar.strip():
        yield "grammar", Constraint("grammar", grammar)


def _text(value: Any) -> str:
    return json.dumps(value)
