"""The OpenAPI document as Markdown: the endpoints by tag, then the objects that they share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from schemas import rows, table, type_of

TAGS = {
    "anytime": "Native",
    "openai": "OpenAI's dialects",
    "anthropic": "Anthropic's dialect",
    "operations": "Operations",
}


def reference(document: dict[str, Any]) -> str:
    """The whole reference."""
    return "\n\n".join([*_Reference(document["components"]["schemas"]).parts(document["paths"])])


class _Reference:
    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas
        self._objects = {
            name: _short(name, schemas) for name, schema in schemas.items() if "properties" in schema
        }
        self._shown: set[str] = set()

    def parts(self, paths: dict[str, Any]) -> Iterator[str]:
        for tag, title in TAGS.items():
            yield f"## {title}"
            for path, methods in paths.items():
                for method, operation in methods.items():
                    if operation["tags"] == [tag]:
                        yield from self._operation(f"{method.upper()} {path}", operation)
        yield "## Objects"
        for name in sorted(self._objects, key=lambda name: self._objects[name].lower()):
            if name not in self._shown and not name.endswith("ValidationError"):  # FastAPI's, never sent
                yield f"### {self._objects[name]}"
                yield from self._object(self._schemas[name])

    def _operation(self, title: str, operation: dict[str, Any]) -> Iterator[str]:
        yield f"### {title}"
        yield operation["description"]
        if body := operation.get("requestBody"):
            yield f"**Body**: {self._type(body['content']['application/json']['schema'])}"
            yield from self._own_object(body["content"])
        responses = operation["responses"]
        yield table(
            {
                "status": [f"`{status}`" for status in responses],
                "": [_description(response) for response in responses.values()],
                "body": [self._contents(response.get("content", {})) for response in responses.values()],
            }
        )
        for response in responses.values():
            item = response.get("content", {}).get("text/event-stream", {}).get("itemSchema", {})
            if schema := item.get("properties", {}).get("data", {}).get("contentSchema"):
                yield from self._events(schema["oneOf"])
        for status, response in responses.items():
            if status.startswith("2"):
                yield from self._own_object(response.get("content", {}))

    def _own_object(self, contents: dict[str, Any]) -> Iterator[str]:
        """The table of a body's object, at the first endpoint that has it."""
        reference = contents.get("application/json", {}).get("schema", {}).get("$ref", "")
        name = reference.rpartition("/")[2]
        if name in self._objects and name not in self._shown:
            self._shown.add(name)
            yield f"#### {self._objects[name]}"
            yield from self._object(self._schemas[name])

    def _contents(self, contents: dict[str, Any]) -> str:
        return "; ".join(
            f"`{kind}`: {self._content(content)}" for kind, content in contents.items() if content
        )

    def _content(self, content: dict[str, Any]) -> str:
        if (item := content.get("itemSchema")) is not None:
            return item.get("description", "the events below")
        schema = content["schema"]
        return schema.get("description") or self._type(schema)

    def _events(self, events: list[dict[str, Any]]) -> Iterator[str]:
        for event in events:
            yield f"#### Event `{event['properties']['type']['const']}`"
            yield from self._object(event)

    def _object(self, schema: dict[str, Any]) -> Iterator[str]:
        if description := schema.get("description"):
            yield description
        fields, declared = list(rows(schema, self._link)), schema["properties"]
        yield table(
            {
                "field": [f"`{row.path}`" for row in fields],
                "type": [row.type for row in fields],
                "default": ["required" if row.is_required else row.default for row in fields],
                "": [row.description or self._nested(declared.get(row.path, {})) for row in fields],
            }
        )

    def _nested(self, field: dict[str, Any]) -> str:
        """The description of the object in a field."""
        return self._schemas.get(field.get("$ref", "").rpartition("/")[2], {}).get("description", "")

    def _type(self, schema: dict[str, Any]) -> str:
        return type_of(schema, self._link)

    def _link(self, name: str) -> str:
        """A link to an object's heading, the type of another schema, or "" for an unknown name."""
        if (title := self._objects.get(name)) is not None:
            return f"[{title}](#{_slug(title)})"
        schema = self._schemas.get(name)
        return "" if schema is None else self._type(schema)


def _description(response: dict[str, Any]) -> str:
    """A response's description, unless it is FastAPI's default."""
    return "" if response["description"] == "Successful Response" else response["description"]


def _short(name: str, schemas: dict[str, Any]) -> str:
    """A class's name, with its module if several modules have a class of this name."""
    if "__" not in name:
        return name
    *modules, own = name.split("__")
    others = [other.split("__") for other in schemas if other.endswith(f"__{own}") and other != name]
    shared = {"schema", *(module for other in others for module in other)}
    module = next(module for module in modules if module not in shared)
    return f"{own} ({module})"


def _slug(title: str) -> str:
    return re.sub(r"[^\w\s-]", "", title).lower().replace(" ", "-")
