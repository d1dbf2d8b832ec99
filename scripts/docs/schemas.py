"""JSON schemas as Markdown tables: one row per field, with its type in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Link = Callable[[str], str]
"""From a definition's name to its text in a table; empty if its fields get rows of their own."""

LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "maxLength": "at most {} characters",
    "maxItems": "at most {}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field."""

    path: str
    """The field's name, after those of the enclosing objects that have no table of their own."""
    type: str
    default: str
    """Empty if there is none."""
    is_required: bool
    description: str


def rows(schema: dict[str, Any], link: Link, *, prefix: str = "") -> Iterator[Row]:
    """The fields of an object. A nested object that `link` has no text for is replaced by its fields."""
    for name, field in schema.get("properties", {}).items():
        kind = link(field.get("title", "")) if "properties" in field else type_of(field, link)
        if not kind:
            yield from rows(field, link, prefix=f"{prefix}{name}.")
            continue
        is_required = name in schema.get("required", ())
        yield Row(
            path=prefix + name,
            type=kind if is_required else kind.removesuffix(" or null"),
            default=_default(field),
            is_required=is_required,
            description=field.get("description", ""),
        )


def type_of(schema: dict[str, Any], link: Link) -> str:
    """A type in words."""
    match schema:
        case {"$ref": str(reference)}:
            return link(reference.rpartition("/")[2])
        case {"const": value}:
            return _code(value)
        case {"enum": list(values)}:
            return ", ".join(_code(value) for value in values)
        case {"anyOf": list(kinds)} | {"oneOf": list(kinds)}:
            names = [type_of(kind, link) for kind in kinds if kind != {"type": "null"}]
            return " or ".join(dict.fromkeys([*names, *(["null"] if {"type": "null"} in kinds else [])]))
        case {"type": "array", "items": dict(items)}:
            return f"list of {type_of(items, link)}{_limits(schema)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {type_of(values, link)}"
        case {"type": "null"}:
            return "null"
        case {"type": str(kind)}:
            return kind + _limits(schema)
    return "any"


def table(columns: dict[str, list[str]]) -> str:
    """A Markdown table without its empty columns."""
    shown = {title: cells for title, cells in columns.items() if any(cells)}
    lines = [list(shown), ["---"] * len(shown), *map(list, zip(*shown.values(), strict=True))]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _limits(schema: dict[str, Any]) -> str:
    limits = [text.format(_plain(schema[name])) for name, text in LIMITS.items() if name in schema]
    return "".join(f" {limit}" for limit in limits)


def _plain(number: float) -> str:
    if abs(number) == 2**63:
        return f"{'-' if number < 0 else ''}2^63"
    return str(int(number)) if number == int(number) else str(number)


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default is None or isinstance(default, dict) or "const" in field else _code(default)


def _code(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`" if value != "" else '`""`'
