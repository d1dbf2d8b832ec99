"""The part of a JSON schema that tokens can be held to: keywords that llguidance does not know are left out.

Without them the schema matches more, never less; the text is then checked for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from anytime_server.engine.structured.disjoint import are_disjoint, named_values
from anytime_server.engine.structured.faults import reason_of, refusal_of, replaced
from anytime_server.engine.structured.schema import (
    ANY_STRING,
    COUNTS,
    closed,
    items,
    resolve,
    schemas_in,
)
from anytime_server.engine.structured.violations import can_check_format, can_check_pattern, pattern_fault

OF_OBJECTS = {
    *("$dynamicRef", "$recursiveRef", "dependencies", "dependentRequired", "dependentSchemas", "else", "if"),
    *("not", "then", "unevaluatedProperties"),
}
"""Keywords that llguidance refuses, and beside which an object may need properties that are not named."""
UNENFORCED = OF_OBJECTS | {
    *("$dynamicAnchor", "$recursiveAnchor", "contains", "contentSchema", "maxContains", "minContains"),
    *("propertyNames", "unevaluatedItems", "uniqueItems"),
}
"""All keywords that llguidance refuses."""
NEEDED = {"then": "if", "else": "if", "maxContains": "contains", "minContains": "contains"}
"""Keywords that mean nothing without another."""
NO_CONSTRAINT = {"$dynamicAnchor", "$recursiveAnchor", "contentSchema"}
IN_PLACE = ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "$dynamicRef", "contains")
"""Keywords with further schemas of the same value."""
FORMATS = {
    *("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "unknown", "uri", "uuid"),
}
"""Formats that llguidance knows."""
MAX_REPLACED = 8


@dataclass(slots=True)
class Relaxed:
    """A schema that llguidance reads, and what it lacks."""

    schema: dict[str, Any]
    left_out: list[str] = field(default_factory=list)
    """JSON pointers of keywords that are not in it."""
    unknown: list[str] = field(default_factory=list)
    """Of those, the ones that no check knows."""
    is_exact: bool = True
    """Whether it matches no more than the whole does, but for unknown keywords."""
    opened: set[str] = field(default_factory=set)
    """JSON pointers of objects that may need properties that are not named."""

    def leave_out(self, pointer: str, keyword: str, schema: dict[str, Any]) -> None:
        """Remove a keyword of a schema within this one."""
        removed = schema.pop(keyword)
        self.left_out.append(f"{pointer}/{keyword}")
        if keyword == "patternProperties" and "additionalProperties" in schema:
            schema["additionalProperties"] = {}  # which else would refuse the properties of these patterns
        if keyword in OF_OBJECTS:
            self.opened.add(pointer)
        if not _can_check(keyword, removed):
            self.unknown.append(f"{pointer}/{keyword}")
        else:
            self.is_exact = False

    @property
    def closed(self) -> dict[str, Any]:
        """A copy for llguidance."""
        return closed(json.loads(json.dumps(self.schema)), opened=self.opened)


def relax(schema: dict[str, Any]) -> Relaxed:
    """A copy of a schema in which `find_fault()` finds none, without the keywords that are not enforced."""
    relaxed = Relaxed(json.loads(json.dumps(schema)))
    for pointer, one in list(schemas_in("#", relaxed.schema)):
        if not isinstance(one, dict):
            continue
        _rewrite(one, relaxed.schema)
        for keyword in sorted(UNENFORCED.intersection(one), reverse=True):  # "then" before "if"
            if _constrains(one, keyword):
                relaxed.leave_out(pointer, keyword, one)
        for keyword in UNENFORCED.intersection(one):
            del one[keyword]
        if isinstance(form := one.get("format"), str) and form not in FORMATS:
            if form in ANY_STRING:
                del one["format"]
            else:
                relaxed.leave_out(pointer, "format", one)
        factor = one.get("multipleOf")
        if isinstance(factor, float) and not factor.is_integer():
            relaxed.is_exact = False  # by the arithmetic of whoever checks, 0.3 may be no multiple of 0.1
        branches = [branch for _, branch in items(one.get("oneOf"))]
        if not are_disjoint(branches, relaxed.schema):
            relaxed.is_exact = False
    return relaxed


def relax_further(relaxed: Relaxed) -> str | None:
    """Leave out what llguidance turns out not to enforce.

    Returns the fault for which the schema is refused; None if it is not.
    """
    if reason_of(relaxed.closed) is None:
        return None
    for pointer, one in list(schemas_in("#", relaxed.schema)):
        for keyword, alone in _doubtful(one):
            reason = reason_of(alone) if keyword in one else None
            if reason is None or _matches_nothing(reason):
                continue
            for pattern in _patterns(keyword, one[keyword]):
                if (fault := pattern_fault(pattern)) is not None:
                    return f"{pointer}: {fault}"
            relaxed.leave_out(pointer, keyword, one)
    for _ in range(MAX_REPLACED):
        if (refusal := refusal_of(relaxed.closed)) is None:
            return None
        pointer, reason = refusal
        if not pointer or _matches_nothing(reason):
            break
        relaxed.schema = replaced(relaxed.schema, pointer, {})
        relaxed.left_out.append(pointer)
        relaxed.is_exact = False
    else:
        return None
    return f"{pointer}: {reason}" if pointer else reason


def _patterns(keyword: str, value: Any) -> list[str]:
    """The regular expressions in the value of a keyword."""
    if keyword == "patternProperties":
        return [name for name, _ in items(value) if isinstance(name, str)]
    return [value] if keyword == "pattern" and isinstance(value, str) else []


def _can_check(keyword: str, value: Any) -> bool:
    if keyword == "format":
        return value in FORMATS or can_check_format(value)
    return all(map(can_check_pattern, _patterns(keyword, value)))


def _matches_nothing(reason: str) -> bool:
    return reason.startswith("Unsatisfiable")


def in_present_form(schema: Any) -> Any:
    """Write keywords of earlier drafts as the present one has them. Changes the schema, and returns it."""
    for _, one in list(schemas_in("#", schema)):
        if not isinstance(one, dict):
            continue
        if isinstance(one.get("items"), list):
            one["prefixItems"] = one.pop("items")
            if "additionalItems" in one:
                one["items"] = one.pop("additionalItems")
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if isinstance(one.get(exclusive), bool) and one.pop(exclusive) and bound in one:
                one[exclusive] = one.pop(bound)
        for keyword in COUNTS:
            if isinstance(value := one.get(keyword), float) and value.is_integer():
                one[keyword] = int(value)
    return schema


def _rewrite(schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Write keywords that llguidance refuses by others with the same meaning, where there are such."""
    if not any(keyword in schema for keyword in IN_PLACE):
        for keyword, usual in (
            ("unevaluatedProperties", "additionalProperties"),
            ("unevaluatedItems", "items"),
        ):
            if keyword in schema and usual not in schema:
                schema[usual] = schema.pop(keyword)
    if "propertyNames" not in schema or "properties" in schema or "patternProperties" in schema:
        return
    names, values = resolve(schema["propertyNames"], root), schema.get("additionalProperties", True)
    if not isinstance(names, dict):
        return
    constraints = set(names) - {"$schema", "title", "description", "type", "$defs"}
    if constraints <= {"enum", "const"} and (named := named_values(names)) is not None:
        one_by_one = {name: values for name in named if isinstance(name, str)}
        schema |= {"properties": one_by_one, "additionalProperties": False}
    elif constraints == {"pattern"} and isinstance(names["pattern"], str):
        schema |= {"patternProperties": {names["pattern"]: values}, "additionalProperties": False}
    else:
        return
    del schema["propertyNames"]


def _constrains(schema: dict[str, Any], keyword: str) -> bool:
    value, needed = schema[keyword], NEEDED.get(keyword)
    if keyword in NO_CONSTRAINT or (needed is not None and needed not in schema):
        return False
    match keyword:
        case "if":
            return False  # what it brings about is in "then" and "else"
        case "uniqueItems":
            return value is not False
        case "propertyNames":
            names = (
                {}
                if not isinstance(value, dict)
                else {k: v for k, v in value.items() if k == "type" or k in UNENFORCED}
            )
            return value is not True and (names != value or names.get("type", "string") != "string")
        case "contains" | "not":
            return True
        case _:
            return value is not True and value != {}


def _doubtful(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Keywords of a schema that llguidance may not take, each with a schema to find that out by."""
    if not isinstance(schema, dict):
        return
    for keyword in ("pattern", "multipleOf"):
        if keyword in schema:
            yield keyword, {keyword: schema[keyword]}
    if "patternProperties" in schema:
        names = [name for name, _ in items(schema["patternProperties"])]
        yield "patternProperties", {"patternProperties": {str(name): {} for name in names}}
    of_text = {
        name: schema[name] for name in ("pattern", "format", "minLength", "maxLength") if name in schema
    }
    for keyword in ("format", "pattern"):
        if keyword in of_text and len(of_text) > 1:
            yield keyword, of_text
