"""Faults of a JSON schema and their places: those that llguidance refuses, and those that it misses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from anytime_server.engine.structured.schema import count, items, schemas_in

MAX_NESTING = 32
LOCATING_S = 1.0
"""Processor time after which a fault is reported without its place."""


def read_schema(json_schema: str) -> dict[str, Any] | str:
    """A schema, or the reason why a text is none."""
    try:
        schema = json.loads(json_schema)
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return "the JSON schema is not JSON"
    if not isinstance(schema, dict):
        return "the JSON schema must be an object"
    level: list[Any] = [schema]
    for _ in range(MAX_NESTING):
        level = [part for one in level for _, part in items(one)]
    if any(isinstance(one, dict | list) for one in level):
        return f"the JSON schema is nested more than {MAX_NESTING} deep"
    return schema


def find_fault(schema: dict[str, Any]) -> str | None:
    """The reason why no finite instance matches a schema, or what in it is no schema; None for neither."""
    schemas = dict(schemas_in("#", schema))
    if strange := [pointer for pointer, one in schemas.items() if not isinstance(one, dict | bool)]:
        return f"the JSON schema cannot be enforced: {strange[0]} is not a schema"
    if (endless := _endless(schemas)) is not None:
        return f"the JSON schema cannot be enforced: {endless} has no instance that ends"
    return None


def refusal_of(schema: dict[str, Any]) -> tuple[str, str] | None:
    """Why llguidance refuses a schema; None where it accepts it.

    Before the reason comes the JSON pointer of the innermost schema at fault: with `{}` in its place,
    llguidance accepts the whole. It is empty where that is the whole, or not found.

    Args:
        schema: with the options of `closed()`.
    """
    if (reason := reason_of(schema)) is None:
        return None
    end_s = time.thread_time() + LOCATING_S
    for pointer in sorted((one for one, _ in schemas_in("#", schema)), key=lambda one: -one.count("/")):
        if pointer == "#" or time.thread_time() > end_s:
            break
        if reason_of(replaced(schema, pointer, {})) is None:
            return pointer, reason
    return "", reason


def reason_of(schema: Any) -> str | None:
    """Why llguidance refuses a schema, without the place; None where it accepts it."""
    from llguidance import LLMatcher

    is_error, messages = LLMatcher.validate_grammar_with_warnings(LLMatcher.grammar_from_json_schema(schema))
    return " ".join(messages[0].split())[:300] if is_error else None


def replaced(schema: dict[str, Any], pointer: str, by: dict[str, Any]) -> dict[str, Any]:
    """A copy of a schema with another at the pointer."""
    if pointer in ("", "#"):
        return by
    whole = json.loads(json.dumps(schema))
    parent, rest = whole, pointer.removeprefix("#/")
    while True:
        names = [str(name) for name, _ in items(parent) if f"{rest}/".startswith(f"{name}/")]
        name = max(names, key=len)
        key: Any = int(name) if isinstance(parent, list) else name
        if rest == name:
            parent[key] = by
            return whole
        parent, rest = parent[key], rest[len(name) + 1 :]


def _endless(schemas: dict[str, Any]) -> str | None:
    """The pointer of a schema without finite instances: each would contain another. None if there is none."""
    pending = {pointer: list(_needs(pointer, one)) for pointer, one in schemas.items()}
    num_pending = len(pending) + 1
    while len(pending) < num_pending:
        num_pending = len(pending)
        pending = {
            pointer: needs
            for pointer, needs in pending.items()
            if not all(any(one not in pending for one in some) for some in needs)
        }
    return min(pending, key=len) if pending else None


def _needs(pointer: str, schema: Any) -> Iterator[list[str]]:
    """Lists of pointers. For each list, every instance contains an instance of at least one schema in it."""
    if isinstance(schema, bool):
        return
    if isinstance(reference := schema.get("$ref"), str):
        yield [reference]
    yield from ([f"{pointer}/allOf/{i}"] for i, _ in items(schema.get("allOf")))
    for keyword in ("anyOf", "oneOf"):
        if branches := [f"{pointer}/{keyword}/{i}" for i, _ in items(schema.get(keyword))]:
            yield branches
    if schema.get("type") == "object":
        required = [name for _, name in items(schema.get("required"))]
        yield from ([f"{pointer}/properties/{name}"] for name in required)
        if count(schema, "minProperties") > len(items(schema.get("properties"))):
            yield [f"{pointer}/additionalProperties"]
    if schema.get("type") == "array" and (least := count(schema, "minItems")):
        first = items(schema.get("prefixItems"))
        yield from ([f"{pointer}/prefixItems/{i}"] for i, _ in first if i < least)
        if least > len(first):
            yield [f"{pointer}/items"]
