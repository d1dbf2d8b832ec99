"""A JSON schema as every engine gives it to llguidance, and the schemas within it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

OPTIONS = {"whitespace_flexible": False, "coerce_one_of": True}
"""With white space allowed, a model could spend a whole budget on it. `oneOf` is enforced as `anyOf` is."""
ANY_STRING = ("password", "binary", "path", "file-path", "directory-path")
"""Formats that every string has; Pydantic writes them."""
COMBINING = ("$ref", "anyOf", "oneOf")
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
OBJECTS = ("properties", "patternProperties", "$defs", "definitions")
PLAIN = ("items", "additionalProperties")
VALUES = ("const", "enum", "default", "examples")
"""Keywords whose values hold no schemas."""
COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def closed(schema: dict[str, Any], *, opened: Collection[str] = ()) -> dict[str, Any]:
    """A schema with options for llguidance, in place of those that the client may have written.

    Objects have no other properties than those named, unless the schema says so: a model could spend a whole
    budget on them. Where properties of several schemas come together, each schema would forbid the others'.

    Args:
        schema: a schema in which `find_fault()` finds none; is changed.
        opened: JSON pointers of objects that stay open.
    """
    parts = [(pointer, one) for pointer, one in schemas_in("#", schema) if isinstance(one, dict)]
    combines = any(
        "allOf" in one or ("properties" in one and any(k in one for k in COMBINING)) for _, one in parts
    )
    for pointer, one in parts:
        is_open = combines or pointer in opened
        if isinstance(one.get("properties"), dict) and not is_open and not _needs_others(one):
            one.setdefault("additionalProperties", False)
    return {**schema, "x-guidance": OPTIONS}


def _needs_others(schema: dict[str, Any]) -> bool:
    """Whether an object must have properties that are not named."""
    properties = schema["properties"]
    return count(schema, "minProperties") > len(properties) or any(
        name not in properties for name in texts(schema.get("required"))
    )


def schemas_in(pointer: str, schema: Any) -> Iterator[tuple[str, Any]]:
    """This schema and those within it, with their JSON pointers."""
    yield pointer, schema
    for keyword, inner in items(schema):
        if keyword in PLAIN:
            yield from schemas_in(f"{pointer}/{keyword}", inner)
        elif keyword in (*LISTS, *OBJECTS):
            for name, one in items(inner):
                yield from schemas_in(f"{pointer}/{keyword}/{name}", one)


def resolve(schema: Any, root: dict[str, Any]) -> Any:
    """The schema that a schema refers to within the root, if it does nothing else; or itself."""
    for _ in range(len(LISTS)):  # chains are short
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        target: Any = root
        for name in reference.removeprefix("#/").split("/"):
            key = unquote(name).replace("~1", "/").replace("~0", "~")
            target = dict(items(target)).get(
                int(key) if key.isdecimal() and isinstance(target, list) else key
            )
        if not isinstance(target, dict):
            break
        schema = target
    return schema


def items(value: Any) -> Collection[tuple[Any, Any]]:
    """Keys and values of an object, indices and values of a list; of anything else there are none."""
    if isinstance(value, dict):
        return value.items()
    return list(enumerate(value)) if isinstance(value, list) else ()


def hoisted(schema: Any, pointer: str) -> Any:
    """A copy of a schema for a place within another one: references to its own parts name them there."""
    if isinstance(schema, list):
        return [hoisted(one, pointer) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    copy: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "$ref" and isinstance(value, str) and (value == "#" or value.startswith("#/")):
            copy[keyword] = pointer + value[1:]
        elif keyword in VALUES or (keyword in ("$id", "$schema") and isinstance(value, str)):
            if keyword in VALUES:
                copy[keyword] = value
        else:
            copy[keyword] = hoisted(value, pointer)
    return copy


def count(schema: dict[str, Any], keyword: str) -> int:
    """A whole number; 0 if it is none."""
    value = schema.get(keyword)
    return value if type(value) is int else 0


def texts(value: Any) -> list[str]:
    """The strings of a list."""
    return [one for _, one in items(value) if isinstance(one, str)]
