"""Schemas that are none, that have no instance that ends, or that llguidance refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.engine.structured.faults import find_fault, read_schema, refusal_of
from anytime_server.engine.structured.schema import LISTS, OBJECTS, PLAIN, closed

NULL = {"type": "null"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema, "type": "array"}
    return schema


def fault_of(schema: dict[str, Any]) -> str | None:
    read = read_schema(json.dumps(schema))
    if isinstance(read, str):
        return read
    if (fault := find_fault(read)) is not None:
        return fault
    refusal = refusal_of(closed(read))
    return refusal and ": ".join(part for part in refusal if part)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"not": NULL, "type": NULL, "": NULL}, "required": ["not"]},
        {"$ref": "#/$defs/a", "title": "A", "$defs": {"a": {"type": "array", "items": {"$ref": "#"}}}},
        {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, NULL]}}, "required": ["next"]},
        {"type": ["array", "null"], "minItems": 1, "items": {"$ref": "#"}},
        {"type": "array", "prefixItems": [NULL, {"$ref": "#"}], "minItems": 1},
        {"const": {"type": "array", "uniqueItems": True}},
        {"type": "string", "pattern": r'^(?:a|b)+[^x]\d{2,9}\\"\.$', "maxLength": 66},
        {"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083},
        {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}], "description": "of two"},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
        nested(32),
    ],
)
def test_enforceable_schema_has_no_fault(schema: dict[str, Any]) -> None:
    assert fault_of(schema) is None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "object", "properties": {"a": 3}}, "#/properties/a is not a schema"),
        ({"type": "array", "items": [NULL]}, "#/items is not a schema"),
        ({"$ref": "#"}, "# has no instance that ends"),
        ({"allOf": [NULL, {"$ref": "#"}]}, "# has no instance that ends"),
        (
            {"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#"}]}},
            "# has no instance that ends",
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "# has no instance that ends",
        ),
        (
            {"type": "object", "additionalProperties": {"$ref": "#"}, "minProperties": 1},
            "# has no instance that ends",
        ),
    ],
)
def test_fault_that_llguidance_would_not_find(schema: dict[str, Any], fault: str) -> None:
    assert find_fault(schema) == f"the JSON schema cannot be enforced: {fault}"


@pytest.mark.parametrize(
    ("schema", "place", "reason"),
    [
        ({"not": NULL}, "", 'Unimplemented keys: ["not"]'),
        ({"x-guidance": {"lenient": True}, "uniqueItems": True}, "", "Unimplemented keys"),
        ({"format": "color", "type": "string"}, "", "Unknown format: color"),
        ({"type": "text"}, "", "Invalid type: text"),
        ({"anyOf": []}, "", "Unsatisfiable schema: anyOf is empty"),
        (
            {"properties": {"a": {"pattern": "("}}},
            "#/properties/a: ",
            "regex parse error: ( ^ error: unclosed",
        ),
        (
            {"$defs": {"b/c": {"items": {"multipleOf": "x"}}}, "$ref": "#/$defs/b~1c"},
            "#/$defs/b/c/items: ",
            "Expected",
        ),
        (
            {"type": "array", "items": {"type": "string", "minLength": 5, "maxLength": 2}, "minItems": 1},
            "#/items: ",
            "Unsatisfiable schema: ",
        ),
    ],
)
def test_refusal_of_llguidance_is_located(schema: dict[str, Any], place: str, reason: str) -> None:
    refused = fault_of(schema)
    assert refused is not None
    assert refused.startswith(place + reason)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (json.dumps(nested(33)), "is nested more than 32 deep"),
        ("[" * 100_000, "is not JSON"),
        ('{"const":NaN}', "is not JSON"),
        ('{"const":"\\ud800"}', "is not JSON"),
        ("3", "must be an object"),
    ],
)
def test_text_that_is_no_schema_has_a_fault(text: str, fault: str) -> None:
    assert read_schema(text) == f"the JSON schema {fault}"


@pytest.mark.parametrize(
    "keyword", sorted({*LISTS, *OBJECTS, *PLAIN, "$ref", "type", "required", "minItems", "format", "pattern"})
)
@pytest.mark.parametrize("value", [None, 3.5, "a", [[]], {"a": {}}])
def test_malformed_keyword_is_no_error_of_ours(keyword: str, value: Any) -> None:
    for beside in ({}, {"type": "object"}, {"type": "array"}, {"type": "string"}):
        assert isinstance(fault_of({**beside, keyword: value}), str | None)
