"""Which JSON schemas tokens can be held to: wholly, at a bearable cost, and without a dead end.

The compilers of grammars pass over much of JSON Schema in silence, take minutes over some schemas and
crash on others. What they do well is told here; everything else is refused. Knows no engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from anytime_server.errors import InvalidRequest

MAX_CHARACTERS = 16_384
MAX_NESTING = 32
MAX_PROPERTIES = 200
"""Of all objects together."""
MAX_COUNTED_PROPERTIES = 32
"""Of an object with `minProperties` or `maxProperties`."""
MAX_BOUNDS = 8
"""Different pairs of the least and the most of something, those in patterns included."""
MAX_PATTERN_CHARACTERS = 128
"""Of all patterns together."""
MAX_COUNT = 100_000
"""The least or the most of something."""
MAX_PATTERN_STEPS = 64
"""Of the patterns of a schema with every repeat written out: what is repeated, and what is no literal."""
MAX_AMBIGUOUS_STEPS = 12
"""Those that may be left out, in patterns with several repeats: long tokens fit these in many ways."""
MAX_LENGTH_STEPS_OF_IDS = 30_000_000
"""Positions in strings of bounded length, times the ids of the vocabulary: each tries every id."""
COUNTED_POSITIONS = 192
"""What the longest string costs: beyond 128 characters, the compiler counts instead."""

NUMBER_KEYWORDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
KEYWORDS_OF_TYPE: dict[str, frozenset[str]] = {
    "null": frozenset(),
    "boolean": frozenset(),
    "integer": NUMBER_KEYWORDS,
    "number": NUMBER_KEYWORDS,
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"}),
}
KEYWORDS_FOR_THEMSELVES = frozenset({"$ref", "anyOf", "oneOf", "allOf", "enum", "const"})
"""Nothing that stands beside one of these is enforced. `oneOf` is held to as `anyOf` is."""
KEYWORDS_UNENFORCED = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "multipleOf",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "unevaluatedItems",
        "unevaluatedProperties",
        "additionalItems",
        "propertyNames",
        "patternProperties",
        "$dynamicRef",
        "$recursiveRef",
    }
)
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
FORMATS = (
    *("email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname"),
    *("uuid", "uri", "uri-reference", "uri-template"),
)
"""Held to by their shape: there can be a 30th of February."""
UNSAFE_IN_PATTERN = re.compile(r'"|\(\?(?!:)|\\(?![dDwWsS.*+?()\[\]{}|^$/-])')
"""Look-around and names for groups; and what a string of JSON writes otherwise than it is."""
PARTS_OF_PATTERN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|\(\?:|.")
WIDE = re.compile(r"\.|\[.+|\\[dDwWsS]")
REPEATS = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def parse_schema(json_schema: str, *, num_ids: int) -> dict[str, Any]:
    """Read a schema that tokens can be held to.

    Args:
        num_ids: size of the vocabulary; strings can be held to greater lengths over a smaller one.

    Raises:
        InvalidRequest: it is none; says why, and at which JSON pointer.
    """
    try:
        schema = json.loads(json_schema)
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        raise InvalidRequest("the JSON schema is not JSON") from None
    if not isinstance(schema, dict):
        raise InvalidRequest("the JSON schema must be an object")
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequest(f"the JSON schema is longer than {MAX_CHARACTERS} characters")
    if _nesting(schema) > MAX_NESTING:
        raise InvalidRequest(f"the JSON schema is nested more than {MAX_NESTING} deep")
    _Reader(num_ids).read(schema)
    return schema


def _nesting(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_nesting, value.values() if isinstance(value, dict) else value), default=0)


def _refuse(pointer: str, fault: str) -> NoReturn:
    raise InvalidRequest(f"the JSON schema cannot be enforced: {pointer} {fault}")


class _Reader:
    """One schema, with all that are in it."""

    def __init__(self, num_ids: int) -> None:
        self._most_positions = max(64, MAX_LENGTH_STEPS_OF_IDS // num_ids)
        self._schemas: dict[str, Any] = {}
        """Each by the JSON pointer of where it stands."""
        self._num_properties = 0
        self._bounds: set[tuple[str, str, str]] = set()
        self._lengths: set[tuple[int, int]] = set()
        self._pattern_characters = 0
        self._pattern_steps = 0
        self._ambiguous_steps = 0

    def read(self, schema: dict[str, Any]) -> None:
        self._visit("#", schema)
        if self._num_properties > MAX_PROPERTIES:
            _refuse("#", f"has more than {MAX_PROPERTIES} properties")
        if len(self._bounds) > MAX_BOUNDS:
            _refuse("#", f"has more than {MAX_BOUNDS} different bounds of lengths")
        if sum(min(max(pair), COUNTED_POSITIONS) for pair in self._lengths) > self._most_positions:
            _refuse(
                "#",
                f"bounds lengths of strings by more than {self._most_positions} characters in all, which is"
                f" the most over this vocabulary (any bound counts for at most {COUNTED_POSITIONS})",
            )
        self._require_ends()

    def _visit(self, pointer: str, schema: Any) -> None:
        if isinstance(schema, bool):
            self._schemas[pointer] = schema
            return
        if not isinstance(schema, dict):
            _refuse(pointer, "is not a schema")
        self._schemas[pointer] = schema
        for keyword in sorted(KEYWORDS_UNENFORCED & schema.keys()):
            if schema[keyword] is not False:
                _refuse(pointer, f"has {keyword!r}")
        types = self._types(pointer, schema)
        typed = {k for k in schema if any(k in keywords for keywords in KEYWORDS_OF_TYPE.values())}
        alone = sorted(KEYWORDS_FOR_THEMSELVES & schema.keys())
        if alone:
            others = [*alone[1:], *sorted(typed)]
            if types is not None and alone[0] not in ("enum", "const"):
                others.append("type")
            if others:
                _refuse(pointer, f"has {others[0]!r} beside {alone[0]!r}")
        for keyword in sorted(typed):
            if not any(keyword in KEYWORDS_OF_TYPE[kind] for kind in types or ()):
                _refuse(pointer, f"has {keyword!r} without a 'type' that it belongs to")
        self._visit_values(pointer, schema, types)
        self._visit_string(pointer, schema)
        self._visit_sizes(pointer, schema)
        for where, inner in _children(pointer, schema):
            self._visit(where, inner)

    def _types(self, pointer: str, schema: dict[str, Any]) -> list[str] | None:
        if "type" not in schema:
            return None
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not kinds or not all(isinstance(kind, str) and kind in KEYWORDS_OF_TYPE for kind in kinds):
            _refuse(pointer, "has a 'type' that is none")
        return kinds

    def _visit_values(self, pointer: str, schema: dict[str, Any], types: list[str] | None) -> None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        if not isinstance(values, list):
            _refuse(pointer, "has an 'enum' that is no list")
        if types is not None and not all(any(_is_a(value, kind) for kind in types) for value in values):
            _refuse(pointer, "has a value that is not of its 'type'")

    def _visit_string(self, pointer: str, schema: dict[str, Any]) -> None:
        shapes = [k for k in ("pattern", "format") if k in schema]
        shapes += [k for k in ("minLength", "maxLength") if k in schema][:1]
        if len(shapes) > 1:
            _refuse(pointer, f"has {shapes[1]!r} beside {shapes[0]!r}")
        if "format" in schema and schema["format"] not in FORMATS:
            _refuse(pointer, f"has the format {schema['format']!r}")
        if "pattern" in schema:
            pattern = schema["pattern"]
            if not isinstance(pattern, str) or not pattern.isprintable() or UNSAFE_IN_PATTERN.search(pattern):
                _refuse(pointer, f"has the pattern {pattern!r}")
            self._pattern_characters += len(pattern)
            if self._pattern_characters > MAX_PATTERN_CHARACTERS:
                _refuse(pointer, f"has more than {MAX_PATTERN_CHARACTERS} characters of patterns")
            self._bounds |= {(pattern, least, most) for least, most in REPEATS.findall(pattern)}
            written = _written_out(pattern)
            self._pattern_steps += written.repeated
            if self._pattern_steps > MAX_PATTERN_STEPS:
                _refuse(
                    pointer,
                    f"has a 'pattern' that repeats over {MAX_PATTERN_STEPS} times (nested ones multiplied)",
                )
            self._ambiguous_steps += written.optional if written.num_choices > 1 else 0
            if self._ambiguous_steps > MAX_AMBIGUOUS_STEPS:
                _refuse(
                    pointer,
                    f"has a 'pattern' whose repeats leave more than {MAX_AMBIGUOUS_STEPS} choices together",
                )

    def _visit_sizes(self, pointer: str, schema: dict[str, Any]) -> None:
        for keyword in COUNTS:
            count = schema.get(keyword, 0)
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                _refuse(pointer, f"has a {keyword!r} that is no number of things")
            if count > MAX_COUNT:
                _refuse(pointer, f"has a {keyword!r} of more than {MAX_COUNT}")
        for what in ("Length", "Items"):
            least, most = schema.get(f"min{what}", 0), schema.get(f"max{what}", "")
            if what == "Length" and f"max{what}" in schema:
                self._lengths.add((least, most))
            elif what == "Length" and least > 1:
                self._lengths.add((least, least))
            if least > 1 or most not in ("", 0, 1):
                self._bounds.add((what, str(least), str(most)))
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            _refuse(pointer, "has 'properties' that are no object")
        self._num_properties += len(properties)
        if ("minProperties" in schema or "maxProperties" in schema) and len(
            properties
        ) > MAX_COUNTED_PROPERTIES:
            _refuse(pointer, f"counts more than {MAX_COUNTED_PROPERTIES} properties")
        required = schema.get("required", [])
        if not isinstance(required, list):
            _refuse(pointer, "has 'required' that is no list")
        for name in required:
            if not isinstance(name, str) or name not in properties:
                _refuse(pointer, f"requires {name!r}, which is not among its properties")

    def _require_ends(self) -> None:
        """Require that every schema has an instance: one that needs itself for it leads nowhere."""
        pending = dict(self._schemas)
        while pending:
            ended = [where for where, schema in pending.items() if self._ends(where, schema, pending)]
            if not ended:
                _refuse(min(pending, key=len), "has no instance that ends")
            for where in ended:
                del pending[where]

    def _ends(self, pointer: str, schema: Any, pending: dict[str, Any]) -> bool:
        if isinstance(schema, bool):
            return True
        if "$ref" in schema:
            target = schema["$ref"]
            if not isinstance(target, str) or target not in self._schemas:
                _refuse(pointer, f"has the $ref {target!r}, at which there is no schema")
            return target not in pending
        needed = [f"{pointer}/properties/{name}" for name in schema.get("required", ())]
        needed += [f"{pointer}/prefixItems/{i}" for i in range(len(schema.get("prefixItems", ())))]
        if schema.get("minItems", 0) > 0:
            needed.append(f"{pointer}/items")
        if schema.get("minProperties", 0) > len(schema.get("properties", ())):
            needed.append(f"{pointer}/additionalProperties")
        if any(where in pending for where in needed):
            return False
        for keyword in ("anyOf", "oneOf", "allOf"):
            branches = [f"{pointer}/{keyword}/{i}" for i in range(len(schema.get(keyword, ())))]
            if branches and all(where in pending for where in branches):
                return False
        return True


@dataclass(slots=True, kw_only=True)
class _Written:
    """A part of a pattern with its repeats written out."""

    steps: int = 0
    """Characters of text, at the most."""
    repeated: int = 0
    """Those of them that stand in a counted repeat, or for more than one character."""
    optional: int = 0
    """Steps that may be left out."""
    num_choices: int = 0
    """Repeats that left them."""
    num_branches: int = 0
    """Beyond the first, and repeats without end: choices only where they are repeated."""

    def add(self, other: _Written) -> None:
        self.steps += other.steps
        self.repeated += other.repeated
        self.optional += other.optional
        self.num_choices += other.num_choices
        self.num_branches += other.num_branches

    def times(self, least: int, most: int | None) -> _Written:
        """The same repeated; without end where there is no most of it."""
        copies = max(least, 2) if most is None else most
        branches = self.num_branches if self.repeated and copies > 1 else 0
        steps = self.steps * copies
        return _Written(
            steps=steps,
            repeated=steps if max(least, most or 0) > 1 else self.repeated,
            optional=copies * (self.optional + branches) + (0 if most is None else most - least),
            num_choices=copies * (self.num_choices + branches) + (most is not None and most != least),
            num_branches=self.num_branches - branches + (most is None),
        )


def _written_out(pattern: str) -> _Written:
    """What a pattern comes to; of one that is none, anything."""
    whole, last, outer = _Written(), _Written(), list[_Written]()
    for part in PARTS_OF_PATTERN.finditer(pattern):
        text = part[0]
        if (repeat := REPEATS.fullmatch(text)) or text in "*+?":
            if repeat is None:
                last = last.times(int(text == "+"), 1 if text == "?" else None)
            else:
                least = int(repeat[1])
                most = least if repeat[2] is None else int(repeat[2]) if repeat[2] else None
                last = last.times(least, most)
            continue
        whole.add(last)
        last = _Written()
        if text[0] == "(":
            outer.append(whole)
            whole = _Written()
        elif text == ")" and outer:
            last, whole = whole, outer.pop()
        elif text == "|":
            whole.num_branches += 1
        elif text not in "^$":
            last.steps, last.repeated = 1, int(WIDE.fullmatch(text) is not None)
    for part in (last, *outer):
        whole.add(part)
    return whole


def _children(pointer: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas directly within one, with their JSON pointers."""
    for keyword in ("properties", "$defs", "definitions"):
        inner = schema.get(keyword, {})
        if not isinstance(inner, dict):
            _refuse(pointer, f"has {keyword!r} that are no object")
        for name, one in inner.items():
            yield f"{pointer}/{keyword}/{name}", one
    for keyword in ("prefixItems", "anyOf", "oneOf", "allOf"):
        branches = schema.get(keyword)
        if branches is None:
            continue
        if not isinstance(branches, list) or not branches or (keyword == "allOf" and len(branches) > 1):
            _refuse(
                pointer, f"has {keyword!r} that is not a list of {'one' if keyword == 'allOf' else 'some'}"
            )
        for place, one in enumerate(branches):
            yield f"{pointer}/{keyword}/{place}", one
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield f"{pointer}/{keyword}", schema[keyword]


def _is_a(value: Any, kind: str) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "null": value is None,
        "boolean": isinstance(value, bool),
        "integer": is_number and value == int(value),
        "number": is_number,
        "string": isinstance(value, str),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[kind]
