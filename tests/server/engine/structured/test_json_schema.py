"""What is refused before a grammar is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.engine.structured.json_schema import parse_schema
from anytime_server.errors import InvalidRequest

NUM_IDS = 150_000
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
        {"type": "object", "properties": {f"p{i}": True for i in range(200)}},
        nested(32),
    ],
)
def test_what_can_be_enforced_passes(schema: dict[str, Any]) -> None:
    assert parse_schema(json.dumps(schema), num_ids=NUM_IDS) == schema


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
        ({"type": "string", "pattern": "a" * 129}, "# has more than 128 characters of patterns"),
        ({"type": "string", "pattern": "a{1,20000}"}, "# has a 'pattern' that repeats over 64 times"),
        ({"type": "string", "pattern": r"^(\w{9}\d){7}$"}, "# has a 'pattern' that repeats over 64 times"),
        ({"type": "string", "pattern": "." * 65}, "# has a 'pattern' that repeats over 64 times"),
        (
            {"type": "string", "pattern": "^(.{1,4}){1,4}$"},
            "# has a 'pattern' whose repeats leave more than 12",
        ),
        ({"type": "string", "pattern": ".?" * 13}, "# has a 'pattern' whose repeats leave more than 12"),
        ({"type": "string", "pattern": "^(.|..|...)+(.{1,6})*$"}, "# has a 'pattern' whose repeats leave"),
        (
            {"anyOf": [{"type": "string", "maxLength": length} for length in (100, 101)]},
            "# bounds lengths of strings by more than 200 characters in all",
        ),
        ({"type": "string", "minLength": 1 << 20}, "# has a 'minLength' of more than 100000"),
        ({"type": "array", "maxItems": 100_001}, "# has a 'maxItems' of more than 100000"),
        ({"type": "string", "maxLength": -1}, "# has a 'maxLength' that is no number"),
        ({"type": "string", "maxLength": True}, "# has a 'maxLength' that is no number"),
        (
            {"prefixItems": [{"type": "string", "maxLength": i} for i in range(2, 11)], "type": "array"},
            "# has more than 8",
        ),
        ({"type": "object", "properties": {f"p{i}": True for i in range(201)}}, "# has more than 200"),
        (
            {"type": "object", "properties": {f"p{i}": True for i in range(33)}, "maxProperties": 2},
            "# counts more than 32",
        ),
    ],
)
def test_what_cannot_be_enforced_is_refused(schema: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_schema(json.dumps(schema), num_ids=NUM_IDS)
    assert str(caught.value).startswith(f"the JSON schema cannot be enforced: {fault}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (json.dumps(nested(33)), "is nested more than 32 deep"),
        (json.dumps({"title": "a" * 17_000}), "is longer than 16384 characters"),
        ('{"const":NaN}', "is not JSON"),
        ('{"const":"\\ud800"}', "is not JSON"),
    ],
)
def test_what_is_too_much_is_refused(text: str, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=f"the JSON schema {fault}"):
        parse_schema(text, num_ids=NUM_IDS)


def test_a_small_vocabulary_bears_longer_strings() -> None:
    long = [{"type": "string", "maxLength": length} for length in (9_998, 9_999)]
    text = json.dumps({"type": "object", "properties": {"a": long[0], "b": long[1]}})
    assert parse_schema(text, num_ids=512)
    with pytest.raises(InvalidRequest, match="more than 200 characters in all"):
        parse_schema(text, num_ids=NUM_IDS)
