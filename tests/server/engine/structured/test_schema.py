"""The text of a schema as it is given to llguidance."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.engine.structured.schema import OPTIONS, with_options

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        ({}, {}),
        ({"x-guidance": {"lenient": True}}, {}),
        ({"properties": {"a": TEXT}}, {"properties": {"a": TEXT}, "additionalProperties": False}),
        ({"properties": {}, "additionalProperties": TEXT}, {"properties": {}, "additionalProperties": TEXT}),
        ({"items": {"format": "binary", **TEXT}}, {"items": TEXT}),
        ({"items": {"format": "date", **TEXT}}, {"items": {"format": "date", **TEXT}}),
        ({"const": {"properties": {}}}, {"const": {"properties": {}}}),
    ],
)
def test_schema_is_closed_and_has_our_options(schema: dict[str, Any], given: dict[str, Any]) -> None:
    assert json.loads(with_options(json.dumps(schema))) == {**given, "x-guidance": OPTIONS}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf"])
def test_properties_that_come_together_are_not_closed(keyword: str) -> None:
    schema = {"properties": {"a": TEXT}, keyword: [{"properties": {"b": TEXT}}]}
    assert json.loads(with_options(json.dumps(schema))) == {**schema, "x-guidance": OPTIONS}
