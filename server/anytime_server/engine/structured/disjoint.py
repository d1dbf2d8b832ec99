"""Whether no value matches two of several schemas: then `oneOf` is what `anyOf` is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from anytime_server.engine.structured.schema import items, resolve, texts

TYPES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    str: "string",
    list: "array",
    dict: "object",
    int: "integer",
    float: "integer",  # for which any type of number does: they have all in common
}


def are_disjoint(schemas: Sequence[Any], root: dict[str, Any]) -> bool:
    """Whether it is certain that no value matches two of these schemas, which are within the root."""
    whole = [resolve(one, root) for one in schemas]
    return all(_exclude(one, other, root) for one, other in itertools.combinations(whole, 2))


def named_values(schema: Any) -> list[Any] | None:
    """The values that a schema names; None for any."""
    if not isinstance(schema, dict):
        return None
    named = [schema["const"]] if "const" in schema else schema.get("enum")
    return named if isinstance(named, list) else None


def _exclude(one: Any, other: Any, root: dict[str, Any]) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one is False or other is False
    types = _types(one), _types(other)
    if _have_nothing_in_common(*types) or _have_nothing_in_common(_named(one), _named(other)):
        return True
    if types != ({"object"}, {"object"}):
        return False
    return any(
        _have_nothing_in_common(*(_named(_property(schema, name, root)) for schema in (one, other)))
        for name in set(texts(one.get("required"))) & set(texts(other.get("required")))
    )


def _have_nothing_in_common(one: set[str] | None, other: set[str] | None) -> bool:
    return one is not None and other is not None and not one & other


def _named(schema: Any) -> set[str] | None:
    """The values that a schema names, as JSON; equal numbers are written alike."""
    values = named_values(schema)
    if values is None:
        return None
    return {json.dumps(float(v) if type(v) is int else v, sort_keys=True) for v in values}


def _types(schema: dict[str, Any]) -> set[str] | None:
    """The types that a value can have; None for any."""
    given = schema.get("type")
    if given is None:
        values = named_values(schema)
        return None if values is None else {TYPES[type(value)] for value in values}
    types = {given} if isinstance(given, str) else set(texts(given))
    return types | {"integer"} if "number" in types else types


def _property(schema: dict[str, Any], name: str, root: dict[str, Any]) -> Any:
    return resolve(dict(items(schema.get("properties"))).get(name), root)
