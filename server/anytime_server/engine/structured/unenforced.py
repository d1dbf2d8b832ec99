"""Keywords of JSON Schema that xgrammar ignores, and recursion without an end. Knows no engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

MAX_NESTING = 32
MAX_COUNT = 100_000
"""xgrammar counts with 32 bits; it ignores higher bounds, or their higher bits."""
NUMBER_KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
KEYWORDS_OF_TYPE: dict[str, tuple[str, ...]] = {
    "null": (),
    "boolean": (),
    "integer": NUMBER_KEYWORDS,
    "number": NUMBER_KEYWORDS,
    "string": ("pattern", "format", "minLength", "maxLength"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
}
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
BRANCHES = ("anyOf", "oneOf", "allOf")
"""`oneOf` is enforced as `anyOf` is, and `allOf` only where it has one branch."""
EXCLUSIVE = ("$ref", *BRANCHES, "enum", "const")
"""Nothing that stands beside one of these is enforced."""
OBJECTS, LISTS = ("properties", "$defs", "definitions"), ("required", "prefixItems", "enum")
UNENFORCED = (
    *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "multipleOf"),
    *("uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems", "additionalItems"),
    *("unevaluatedProperties", "propertyNames", "patternProperties", "$dynamicRef", "$recursiveRef"),
)
FORMATS = (
    *("email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname"),
    *("uuid", "uri", "uri-reference", "uri-template"),
)
"""Enforced by their shape: there can be a 30th of February."""
UNSAFE_IN_PATTERN = re.compile(r'"|\(\?(?!:)|\\(?![dDwWsS.*+?()\[\]{}|^$/-])')
"""Look-around and names for groups; and what a string of JSON writes otherwise than it is."""


def find_fault(json_schema: str) -> str | None:
    """The keyword that would be ignored, or the schema without an instance that ends; else None."""
    try:
        schema = json.loads(json_schema)
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return "the JSON schema is not JSON"
    if not isinstance(schema, dict):
        return "the JSON schema must be an object"
    level: list[Any] = [schema]
    for _ in range(MAX_NESTING):
        level = [part for one in level for _, part in _items(one)]
    if any(isinstance(one, dict | list) for one in level):
        return f"the JSON schema is nested more than {MAX_NESTING} deep"
    schemas = dict(schemas_in("#", schema))
    faults = ((pointer, fault) for pointer, one in schemas.items() for fault in _faults(one, schemas))
    pointer, fault = next(faults, None) or _endless(schemas) or (None, None)
    return fault and f"the JSON schema cannot be enforced: {pointer} {fault}"


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())


def schemas_in(pointer: str, schema: Any) -> Iterator[tuple[str, Any]]:
    """This schema and those within it, with their JSON pointers."""
    yield pointer, schema
    for keyword, inner in _items(schema):
        if keyword in ("items", "additionalProperties"):
            yield from schemas_in(f"{pointer}/{keyword}", inner)
        elif keyword in (*OBJECTS, *BRANCHES, "prefixItems"):
            for name, one in _items(inner):
                yield from schemas_in(f"{pointer}/{keyword}/{name}", one)


def _faults(schema: Any, schemas: dict[str, Any]) -> Iterator[str]:
    """The first is meant; those after it may not make sense."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield "is not a schema"
    yield from (f"has {k!r}" for k in UNENFORCED if schema.get(k, False) is not False)
    yield from (f"has {k!r} that is no object" for k in OBJECTS if not isinstance(schema.get(k, {}), dict))
    yield from (f"has {k!r} that is no list" for k in LISTS if not isinstance(schema.get(k, []), list))
    for keyword in [keyword for keyword in BRANCHES if keyword in schema]:
        branches, many = schema[keyword], "one" if keyword == "allOf" else "some"
        if not isinstance(branches, list) or not branches or (many == "one" and len(branches) > 1):
            yield f"has {keyword!r} that is not a list of {many}"
    types = schema.get("type", [])
    types = types if isinstance(types, list) else [types]
    if "type" in schema and not (types and all(kind in list(KEYWORDS_OF_TYPE) for kind in types)):
        yield "has a 'type' that is none"
    typed = [keyword for keyword in schema if any(keyword in one for one in KEYWORDS_OF_TYPE.values())]
    for first in [keyword for keyword in EXCLUSIVE if keyword in schema][:1]:
        beside = [k for k in (*EXCLUSIVE, *typed) if k in schema and k != first]
        beside += ["type"] if types and first not in ("enum", "const") else []
        yield from (f"has {keyword!r} beside {first!r}" for keyword in beside)
    for keyword in typed:
        if not any(keyword in KEYWORDS_OF_TYPE[kind] for kind in types):
            yield f"has {keyword!r} without a 'type' that it belongs to"
        if keyword in COUNTS and not (type(schema[keyword]) is int and 0 <= schema[keyword] <= MAX_COUNT):
            yield f"has a {keyword!r} that is no number from 0 to {MAX_COUNT}"
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if types and not all(_kinds(value) & set(types) for value in values):
        yield "has a value that is not of its 'type'"
    shapes = [k for k in ("pattern", "format", "minLength", "maxLength") if k in schema]
    if len(shapes) > 1 and shapes[0] != "minLength":
        yield f"has {shapes[1]!r} beside {shapes[0]!r}"
    if schema.get("format", "date") not in FORMATS:
        yield f"has the format {schema['format']!r}"
    pattern = schema.get("pattern", "")
    if not isinstance(pattern, str) or not pattern.isprintable() or UNSAFE_IN_PATTERN.search(pattern):
        yield f"has the pattern {pattern!r}"
    names = list(schema.get("properties", ()))
    for name in schema.get("required", ()):
        if name not in names:
            yield f"requires {name!r}, which is not among its properties"
    if "$ref" in schema and str(schema["$ref"]) not in schemas:
        yield f"has the $ref {schema['$ref']!r}, at which there is no schema"


def _kinds(value: Any) -> set[str]:
    """The types of JSON Schema that a value has."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"number", "integer"} if value == int(value) else {"number"}
    names = {type(None): "null", bool: "boolean", str: "string", list: "array", dict: "object"}
    return {names[type(value)]}


def _endless(schemas: dict[str, Any]) -> tuple[str, str] | None:
    """A schema of which every instance has another instance of it within, as a fault."""
    pending = {pointer: list(_needs(pointer, one)) for pointer, one in schemas.items()}
    num_pending = len(pending) + 1
    while len(pending) < num_pending:
        num_pending = len(pending)
        pending = {
            pointer: needs
            for pointer, needs in pending.items()
            if not all(any(one not in pending for one in some) for some in needs)
        }
    return (min(pending, key=len), "has no instance that ends") if pending else None


def _needs(pointer: str, schema: Any) -> Iterator[list[str]]:
    """Of each list of pointers, an instance has an instance of one within."""
    if isinstance(schema, bool):
        return
    if "$ref" in schema:
        yield [schema["$ref"]]
    yield from ([f"{pointer}/properties/{name}"] for name in schema.get("required", ()))
    yield from ([f"{pointer}/prefixItems/{i}"] for i, _ in enumerate(schema.get("prefixItems", ())))
    if schema.get("minItems", 0) > 0:
        yield [f"{pointer}/items"]
    if schema.get("minProperties", 0) > len(schema.get("properties", ())):
        yield [f"{pointer}/additionalProperties"]
    for keyword in BRANCHES:
        if keyword in schema:
            yield [f"{pointer}/{keyword}/{i}" for i, _ in enumerate(schema[keyword])]
