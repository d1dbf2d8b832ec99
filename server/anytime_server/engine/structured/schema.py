"""A JSON schema as every engine gives it to llguidance, and the schemas within it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

OPTIONS = {"whitespace_flexible": False, "coerce_one_of": True}
"""With white space allowed, a model could spend a whole budget on it. `oneOf` is enforced as `anyOf` is."""
ANY_STRING = ("password", "binary", "path", "file-path", "directory-path")
"""Formats that every string has; Pydantic writes them."""
COMBINING = ("$ref", "anyOf", "oneOf")
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
OBJECTS = ("properties", "patternProperties", "$defs", "definitions")
PLAIN = ("items", "additionalProperties")


def with_options(json_schema: str) -> str:
    """The text of a schema with options for llguidance, in place of those that the client may have written.

    Objects have no other properties than those named, unless the schema says so: a model could spend a whole
    budget on them. Where properties of several schemas come together, each schema would forbid the others'.

    Args:
        json_schema: a schema in which `find_fault()` finds none.
    """
    schema = json.loads(json_schema)
    parts = [one for _, one in schemas_in("#", schema) if isinstance(one, dict)]
    combines = any(
        "allOf" in one or ("properties" in one and any(k in one for k in COMBINING)) for one in parts
    )
    for one in parts:
        if one.get("format") in ANY_STRING:
            del one["format"]
        if isinstance(one.get("properties"), dict) and not combines:
            one.setdefault("additionalProperties", False)
    return json.dumps({**schema, "x-guidance": OPTIONS}, separators=(",", ":"))


def schemas_in(pointer: str, schema: Any) -> Iterator[tuple[str, Any]]:
    """This schema and those within it, with their JSON pointers."""
    yield pointer, schema
    for keyword, inner in items(schema):
        if keyword in PLAIN:
            yield from schemas_in(f"{pointer}/{keyword}", inner)
        elif keyword in (*LISTS, *OBJECTS):
            for name, one in items(inner):
                yield from schemas_in(f"{pointer}/{keyword}/{name}", one)


def items(value: Any) -> Collection[tuple[Any, Any]]:
    """Keys and values of an object, indices and values of a list; of anything else there are none."""
    if isinstance(value, dict):
        return value.items()
    return list(enumerate(value)) if isinstance(value, list) else ()
