"""Calls as JSON of our own: the schema that answers are held to, and what is read out of them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from anytime_server.text.json_calls import ANSWER, CALLS, MOST_CALLS, NO_ARGUMENTS, JsonCalls, parameters_of
from anytime_server.text.tool_calls import ToolCall

TREE = {
    "type": "object",
    "properties": {"node": {"$ref": "#/$defs/node"}},
    "required": ["node"],
    "$defs": {"node": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "tree", "parameters": TREE}},
    {"type": "function", "function": {"name": "now"}},
]
DEEP = {"node": {"node": None}}
NOW = {"name": "now", "arguments": {}}


def calls_of(**options: Any) -> JsonCalls:
    return JsonCalls(TOOLS, ("tree", "now"), **{"max_calls": None, **options})


@pytest.mark.parametrize(
    ("calls", "text", "expected"),
    [
        (JsonCalls(TOOLS, ["tree"], max_calls=1), DEEP, [("tree", DEEP)]),
        (calls_of(max_calls=1), {"name": "tree", "arguments": DEEP}, [("tree", DEEP)]),
        (calls_of(), [NOW] * 2, [("now", {})] * 2),
        (
            calls_of(answer_schema={"type": "null"}),
            {CALLS: [NOW]},
            [("now", {})],
        ),
        (calls_of(answer_schema={"type": "null"}), None, []),
    ],
)
def test_answer_of_the_schema_is_read(calls: JsonCalls, text: Any, expected: Any) -> None:
    jsonschema.validate(text, json.loads(calls.json_schema))
    found = calls.read(json.dumps(text))
    assert [(call.name, json.loads(call.arguments)) for call in found] == expected
    reader = calls.reader()
    shown = reader.push(json.dumps(text)[:4]) + reader.push(json.dumps(text)[4:])
    rest, read = reader.finish()
    assert (shown + rest, read) == ("" if expected else json.dumps(text), found)


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        (JsonCalls(TOOLS, ["now"], max_calls=1), {"a": 1}),
        (calls_of(), []),
        (calls_of(), [{"name": "other", "arguments": {}}]),
        (calls_of(), [NOW] * (MOST_CALLS + 1)),
        (calls_of(max_calls=2), [NOW] * 3),
        (calls_of(max_calls=1), {"name": "tree", "arguments": {"node": 3}}),
        (calls_of(), [{"name": "tree", "arguments": {}}]),
    ],
)
def test_other_answer_is_not_of_the_schema(calls: JsonCalls, text: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(text, json.loads(calls.json_schema))


@pytest.mark.parametrize(
    "text", ['{"name": "now"', "[" * 9000, "3", '{"name": "now", "arguments": []}', '{"a": 1e999}']
)
def test_text_that_is_no_call_is_shown(text: str) -> None:
    for calls in (calls_of(), JsonCalls(TOOLS, ["tree"], max_calls=1)):
        if calls.read(text) and text[1:4] == '"na':
            continue  # an object is the arguments of the one function
        reader = calls.reader()
        assert reader.push(text) == ""
        assert reader.finish() == (text, [])


def test_text_of_an_answer_is_shown_as_it_comes() -> None:
    reader = calls_of(answer_schema={"type": "object"}).reader()
    assert [reader.push(part) for part in ('{"', "too", 'l": ', "1}")] == ["", "", '{"tool": ', "1}"]
    assert reader.finish() == ("", [])


def test_more_calls_than_allowed_are_dropped() -> None:
    reader = calls_of(max_calls=1).reader()
    reader.push(json.dumps([NOW] * 2))
    assert reader.finish() == ("", [ToolCall(name="now", arguments="{}")])


def test_places_in_the_schema_are_places_in_the_parameters() -> None:
    calls = calls_of(answer_schema={"type": "object"})
    assert calls.name_of("#/$defs/0/properties/node/not") == ("tree", "#/properties/node/not")
    assert calls.name_of("#/$defs/1/not") == ("now", "#/not")
    assert calls.name_of(f"#/$defs/{ANSWER}/not") == (None, "#/not")
    assert JsonCalls(TOOLS, ["tree"], max_calls=1).name_of("#/not") == ("tree", "#/not")


@pytest.mark.parametrize(
    "parameters",
    [None, {}, {"type": "object"}, {"type": "object", "properties": {}}, {"type": "object", "title": "T"}],
)
def test_function_without_parameters_has_no_arguments(parameters: Any) -> None:
    assert parameters_of({"name": "f", "parameters": parameters}) == NO_ARGUMENTS


def test_function_with_free_arguments_keeps_them() -> None:
    free = {"type": "object", "additionalProperties": True}
    assert parameters_of({"name": "f", "parameters": free}) == free
