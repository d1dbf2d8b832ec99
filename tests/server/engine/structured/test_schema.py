"""The text of a schema as it is given to llguidance."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.engine.structured.schema import OPTIONS, closed, hoisted

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        ({}, {}),
        ({"x-guidance": {"lenient": True}}, {}),
        ({"properties": {"a": TEXT}}, {"properties": {"a": TEXT}, "additionalProperties": False}),
        ({"properties": {}, "additionalProperties": TEXT}, {"properties": {}, "additionalProperties": TEXT}),
        ({"properties": {}, "required": ["a"]}, {"properties": {}, "required": ["a"]}),
        ({"properties": {}, "minProperties": 1}, {"properties": {}, "minProperties": 1}),
        ({"const": {"properties": {}}}, {"const": {"properties": {}}}),
    ],
)
def test_schema_is_closed_and_has_our_options(schema: dict[str, Any], given: dict[str, Any]) -> None:
    assert closed(json.loads(json.dumps(schema))) == {**given, "x-guidance": OPTIONS}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf"])
def test_properties_that_come_together_are_not_closed(keyword: str) -> None:
    schema = {"properties": {"a": TEXT}, keyword: [{"properties": {"b": TEXT}}]}
    assert closed(json.loads(json.dumps(schema))) == {**schema, "x-guidance": OPTIONS}


def test_schema_within_another_refers_to_its_own_parts_there() -> None:
    parts = {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/a~1b"}]}, "$ref": {"const": {"$ref": "#"}}}
    schema = {"$id": "http://x/y", "$schema": "https://x", "properties": parts, "$defs": {"a/b": TEXT}}
    moved = {"a": {"anyOf": [{"$ref": "#/x"}, {"$ref": "#/x/$defs/a~1b"}]}, "$ref": {"const": {"$ref": "#"}}}
    assert hoisted(schema, "#/x") == {"properties": moved, "$defs": {"a/b": TEXT}}
