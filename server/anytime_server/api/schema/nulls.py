"""`null` in a field that may be left out: its absence, as clients with typed bodies send it."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

NULL = {"type": "null"}


def without_nulls(value: Any, kind: type[BaseModel]) -> Any:
    """The body of an object without fields that are null and may be left out."""
    if not isinstance(value, dict) or None not in value.values():
        return value
    optional = _optional(kind)
    return {name: given for name, given in value.items() if given is not None or name not in optional}


@cache
def _optional(kind: type[BaseModel]) -> frozenset[str]:
    """Fields that may be left out, by their names on the wire."""
    fields = kind.model_fields.items()
    return frozenset(field.alias or name for name, field in fields if not field.is_required())


def with_nulls(described: dict[str, Any]) -> None:
    """Document in the JSON schema of an object that its optional fields may be null."""
    properties = described.get("properties", {})
    for name in properties.keys() - set(described.get("required", ())):
        properties[name] = _or_null(properties[name])


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    forms = schema.get("anyOf")
    if forms is not None:
        return schema if NULL in forms else {**schema, "anyOf": [*forms, NULL]}
    if not schema.keys() & {"type", "$ref", "const", "enum"} or None in schema.get("enum", ()):
        return schema  # any value
    about = {name: schema[name] for name in ("title", "description", "default") if name in schema}
    return {"anyOf": [{name: schema[name] for name in schema if name not in about}, NULL], **about}
