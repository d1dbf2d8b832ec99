"""A short instance of a JSON schema, for engines without a model. Knows the usual keywords only."""

from __future__ import annotations

import json
from typing import Any

from anytime_server.engine.structured.schema import count, items, resolve, texts
from anytime_server.engine.structured.violations import violation

DEPTH = 16
TEXTS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "email": "a@example.org",
    "time": "00:00:00Z",
    "uri": "https://example.org",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""By format."""


def example_of(json_schema: str) -> str | None:
    """An instance, as JSON without white space; None where none is found."""
    schema = json.loads(json_schema)
    try:
        text = json.dumps(_value(schema, schema, DEPTH), ensure_ascii=False, separators=(",", ":"))
        return text if violation(json_schema, text) is None else None
    except Exception:  # of whatever a client's schema has
        return None


def _value(schema: Any, root: dict[str, Any], depth: int) -> Any:
    schema = resolve(schema, root)
    if not isinstance(schema, dict) or depth == 0:
        return None
    for keyword in ("default", "const"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("enum", "examples"):
        if schema.get(keyword):
            return schema[keyword][0]
    for keyword in ("anyOf", "oneOf"):
        if branches := [resolve(one, root) for _, one in items(schema.get(keyword))]:
            return _value(schema | branches[0] | {keyword: None}, root, depth - 1)
    for _, one in items(schema.get("allOf")):
        part = resolve(one, root)
        merged = {
            "properties": {**schema.get("properties", {}), **part.get("properties", {})},
            "required": [*texts(schema.get("required")), *texts(part.get("required"))],
        }
        schema = schema | part | {"allOf": None} | {name: value for name, value in merged.items() if value}
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) else kind:
        case "string":
            text = TEXTS.get(schema.get("format", ""), "a")
            return text + "a" * (count(schema, "minLength") - len(text))
        case "integer" | "number":
            least = max(schema.get("minimum", 0), schema.get("exclusiveMinimum", -1) + 1)
            return min(least, schema.get("maximum", least), schema.get("exclusiveMaximum", least + 1) - 1)
        case "boolean":
            return True
        case "array":
            parts = [one for _, one in items(schema.get("prefixItems"))]
            parts += [schema.get("items")] * (count(schema, "minItems") - len(parts))
            return [_value(one, root, depth - 1) for one in parts]
        case "null":
            return None
    properties, required = dict(items(schema.get("properties"))), texts(schema.get("required"))
    return {name: _value(properties.get(name), root, depth - 1) for name in required}
