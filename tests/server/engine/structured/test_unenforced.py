"""Schemas that xgrammar would compile, but not enforce."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.engine.structured.unenforced import (
    COUNTS,
    EXCLUSIVE,
    LISTS,
    OBJECTS,
    UNENFORCED,
    find_fault,
)

NULL = {"type": "null"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema, "type": "array"}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"not": NULL, "type": NULL, "": NULL}, "required": ["not"]},
        {"$ref": "#/$defs/a", "title": "A", "$defs": {"a": {"type": "array", "items": {"$ref": "#"}}}},
        {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, NULL]}}, "required": ["next"]},
        {"type": ["string", "null"], "enum": ["a", None]},
        {"const": {"not": 1, "type": "no type"}},
        {"type": "string", "pattern": r"^(?:a|b)+[^x]\d{2,9}\.$"},
        {"type": "string", "pattern": r"^(?:red|green|blue|cyan)+ [0-9a-f]{1,40}$"},
        {"type": "string", "pattern": r"^(\d{1,3}\.){3}\d{1,3}$"},
        {"type": "string", "maxLength": 66},
        {"type": "array", "items": False, "uniqueItems": False},
        {"type": "string", "minLength": 1, "maxLength": 2},
        nested(32),
    ],
)
def test_enforceable_schema_has_no_fault(schema: dict[str, Any]) -> None:
    assert find_fault(json.dumps(schema)) is None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"properties": {"a": NULL}}, "# has 'properties' without a 'type'"),
        ({"type": "object", "properties": {"a": {"minimum": 3}}}, "#/properties/a has 'minimum' without"),
        ({"type": "object", "required": ["a"]}, "# requires 'a'"),
        ({"type": "object", "required": [["a"]]}, "# requires ['a']"),
        ({"type": "object", "properties": {"a": 3}}, "#/properties/a is not a schema"),
        ({"type": "array", "uniqueItems": True}, "# has 'uniqueItems'"),
        ({"type": "text"}, "# has a 'type' that is none"),
        ({"type": [["null"]]}, "# has a 'type' that is none"),
        ({"type": "integer", "enum": [1, True]}, "# has a value that is not of its 'type'"),
        ({"type": "object", "anyOf": [{}]}, "# has 'type' beside 'anyOf'"),
        ({"anyOf": [{}], "oneOf": [{}]}, "# has 'oneOf' beside 'anyOf'"),
        ({"allOf": [NULL, NULL]}, "# has 'allOf' that is not a list of one"),
        ({"anyOf": []}, "# has 'anyOf' that is not a list of some"),
        ({"$ref": "#/$defs/a"}, "# has the $ref '#/$defs/a'"),
        ({"$ref": "https://example.com/schema"}, "# has the $ref 'https://example.com/schema'"),
        ({"$ref": "#"}, "# has no instance that ends"),
        (
            {"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#"}]}},
            "# has no instance that ends",
        ),
        ({"type": "string", "format": "color"}, "# has the format 'color'"),
        ({"type": "string", "format": ["date"]}, "# has the format ['date']"),
        ({"type": "string", "format": "date", "maxLength": 3}, "# has 'maxLength' beside 'format'"),
        ({"type": "string", "pattern": "(?=a)b"}, "# has the pattern '(?=a)b'"),
        ({"type": "string", "pattern": '"'}, "# has the pattern"),
        ({"type": "string", "pattern": r"\\"}, "# has the pattern"),
        ({"type": "string", "pattern": "a\nb"}, "# has the pattern"),
        ({"type": "string", "maxLength": -1}, "# has a 'maxLength' that is no number"),
        ({"type": "array", "maxItems": 100_001}, "# has a 'maxItems' that is no number from 0 to 100000"),
        ({"type": "string", "maxLength": True}, "# has a 'maxLength' that is no number"),
    ],
)
def test_fault_names_its_json_pointer(schema: dict[str, Any], fault: str) -> None:
    found = find_fault(json.dumps(schema))
    assert found is not None
    assert found.startswith(f"the JSON schema cannot be enforced: {fault}")


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
    assert find_fault(text) == f"the JSON schema {fault}"


@pytest.mark.parametrize("keyword", sorted({*UNENFORCED, *EXCLUSIVE, *LISTS, *OBJECTS, *COUNTS}))
@pytest.mark.parametrize("value", [None, 3.5, "a", [[]], {"a": {}}])
def test_malformed_keyword_is_no_error_of_ours(keyword: str, value: Any) -> None:
    for beside in ({}, {"type": "object"}, {"type": "array"}, {"type": "string"}):
        fault = find_fault(json.dumps({keyword: value, **beside}))
        assert fault is None or fault.startswith("the JSON schema ")
