"""Schemas as Pydantic and Zod write them: what is enforced, what is left out, and what is said of it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.structured.grammar import grammar_of
from anytime_server.engine.structured.process import compiled
from anytime_server.engine.structured.violations import violation
from anytime_server.engine.structured.vocabulary import Vocabulary
from anytime_server.text.model import BUNDLED_MODEL

TEXT, NUMBER = {"type": "string"}, {"type": "number"}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(BUNDLED_MODEL, 512)


def texts_of(vocabulary: Vocabulary, json_schema: str, *, number: int = 12) -> Iterator[str]:
    """Texts of tokens that are held to a schema, drawn at random; most structure comes early."""
    from llguidance import LLMatcher
    from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

    rng, bits = random.Random(0), allocate_token_bitmask(1, vocabulary.tokenizer.vocab_size)
    structure = [
        i for i, token in enumerate(vocabulary.tokens) if token in (b'"', b"}", b"]", b",", b":", b"1")
    ]
    for _ in range(number):
        matcher = LLMatcher(
            vocabulary.tokenizer, grammar_of(Constraint("json_schema", json_schema)), log_level=0
        )
        ids: list[int] = []
        while len(ids) < 80:
            fill_next_token_bitmask(matcher, bits)
            allowed = np.flatnonzero(np.unpackbits(bits.view(np.uint8)[0], bitorder="little")).tolist()
            if vocabulary.eos_id in allowed:
                yield vocabulary.tokenizer.decode_str(ids)
                break
            early = [i for i in structure if i in allowed]
            ids.append(rng.choice(early if early and rng.random() < 0.7 else allowed))
            assert matcher.consume_token(ids[-1])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "propertyNames": TEXT, "additionalProperties": NUMBER},
        {"type": "object", "propertyNames": {"enum": ["b", "a"]}, "additionalProperties": {"type": "null"}},
        {
            "type": "object",
            "propertyNames": {"pattern": "^x[0-9]$"},
            "additionalProperties": {"type": "null"},
        },
        {"type": "string", "format": "uuid", "pattern": "^[0-9a-f-]{36}$"},
        {"type": "string", "format": "binary"},
        {"type": "array", "items": TEXT, "uniqueItems": False, "maxItems": 2},
        {"type": "integer", "multipleOf": 5},
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"a": TEXT, "b": {"default": None, "anyOf": [NUMBER, {"type": "null"}]}},
            "required": ["a"],
            "additionalProperties": False,
            "title": "T",
            "examples": [{"a": "x"}],
        },
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]},
                {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["b"]},
            ]
        },
        {"type": "object", "properties": {"a": TEXT}, "unevaluatedProperties": False},
        {"type": "array", "items": [TEXT, NUMBER], "additionalItems": False},
        {"type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 9},
        {"oneOf": [TEXT, {"type": "integer"}, {"type": "null"}]},
        {
            "oneOf": [
                {"type": "object", "properties": {"t": {"const": tag}}, "required": ["t"]} for tag in "ab"
            ]
        },
        {"if": TEXT, "type": "boolean"},
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)
def test_schema_is_enforced_entirely(vocabulary: Vocabulary, schema: dict[str, Any]) -> None:
    reply = compiled(vocabulary, Constraint("json_schema", json.dumps(schema)))
    assert reply.get("is_exact") is True, reply
    assert reply.get("left_out") == []
    draft = jsonschema.Draft4Validator if "exclusiveMinimum" in schema else None
    draft = jsonschema.Draft7Validator if isinstance(schema.get("items"), list) else draft
    for text in texts_of(vocabulary, reply.get("text", "")):
        jsonschema.validate(json.loads(text), schema, cls=draft)


@pytest.mark.parametrize(
    ("schema", "left_out", "valid", "invalid"),
    [
        ({"type": "array", "items": NUMBER, "uniqueItems": True}, "#/uniqueItems", "[1,2]", "[1,1]"),
        (
            {"properties": {"a": {"pattern": "^(?=.*b).*$"}}},
            "#/properties/a/pattern",
            '{"a":"ab"}',
            '{"a":"a"}',
        ),
        ({"type": "object", "propertyNames": {"maxLength": 1}}, "#/propertyNames", '{"a":1}', '{"ab":1}'),
        ({"type": "array", "contains": NUMBER}, "#/contains", '["a",1]', '["a"]'),
        ({"type": "string", "not": {"const": ""}}, "#/not", '"a"', '""'),
        ({"if": NUMBER, "then": {"minimum": 3}}, "#/then", "4", "2"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "#/dependentRequired", "{}", '{"a":1}'),
        ({"type": "number", "multipleOf": 0.123456789123456789}, "#/multipleOf", "0", "1"),
        ({"type": "string", "format": "regex"}, "#/format", '"a"', '"("'),
        (
            {"patternProperties": {"a": NUMBER, "b": NUMBER}, "additionalProperties": False},
            "#/patternProperties",
            '{"ab":1}',
            '{"ab":"c"}',
        ),
    ],
)
def test_keyword_that_is_left_out_is_named_and_checked(
    vocabulary: Vocabulary, schema: dict[str, Any], left_out: str, valid: str, invalid: str
) -> None:
    text = json.dumps(schema)
    reply = compiled(vocabulary, Constraint("json_schema", text))
    assert reply.get("left_out") == [left_out]
    assert reply.get("unknown") == []
    assert reply.get("is_exact") is False
    assert violation(text, valid) is None
    assert (violation(text, invalid) or "").startswith(left_out)


def test_multiples_of_a_fraction_are_checked(vocabulary: Vocabulary) -> None:
    schema = json.dumps({"type": "number", "multipleOf": 0.0001})
    assert compiled(vocabulary, Constraint("json_schema", schema)).get("is_exact") is False
    assert violation(schema, "0.09") == "#/multipleOf", "as it is with the floats of Python and JavaScript"


def test_schemas_of_one_of_that_overlap_are_checked(vocabulary: Vocabulary) -> None:
    schema = json.dumps({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]})
    reply = compiled(vocabulary, Constraint("json_schema", schema))
    assert (reply.get("left_out"), reply.get("is_exact")) == ([], False)
    assert violation(schema, "1") is None
    assert violation(schema, "3") == "#/oneOf"


def test_format_that_nobody_knows_is_reported_and_not_checked(vocabulary: Vocabulary) -> None:
    schema = json.dumps({"type": "object", "properties": {"id": {"type": "string", "format": "cuid"}}})
    reply = compiled(vocabulary, Constraint("json_schema", schema))
    assert reply.get("unknown") == reply.get("left_out") == ["#/properties/id/format"]
    assert reply.get("is_exact") is True


def test_object_that_may_need_other_properties_is_not_closed(vocabulary: Vocabulary) -> None:
    schema = {"properties": {"a": NUMBER}, "required": ["a"], "dependentRequired": {"a": ["b"]}}
    reply = compiled(vocabulary, Constraint("json_schema", json.dumps(schema)))
    assert "additionalProperties" not in json.loads(reply.get("text", ""))


def test_patterns_of_names_that_are_left_out_do_not_forbid_these_names(vocabulary: Vocabulary) -> None:
    schema = {"patternProperties": {"a": NUMBER, "b": NUMBER}, "additionalProperties": False}
    reply = compiled(vocabulary, Constraint("json_schema", json.dumps(schema)))
    assert json.loads(reply.get("text", ""))["additionalProperties"] == {}


def test_several_faults_are_all_left_out(vocabulary: Vocabulary) -> None:
    fields = {"a": {"type": "string", "pattern": "(?=a)"}, "b": {"type": "string", "pattern": "(?!b)"}}
    schema = {"type": "object", "properties": fields}
    reply = compiled(vocabulary, Constraint("json_schema", json.dumps(schema)))
    assert reply.get("left_out") == ["#/properties/a/pattern", "#/properties/b/pattern"]
