"""What the OpenAPI document says that FastAPI cannot see: streams, another vendor's objects, idle fields."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

NoEffect = Annotated[Any, Field(description="Taken, without effect on what is sampled.")]
Refused = Annotated[Any, Field(description="Refused, unless what it says asks for nothing.")]

ANYTIME_OBJECT = {
    "type": "object",
    "description": "What the dialect has no field for: `stop`, `timing`, `usage` and `continuation`, each as "
    "the native dialect's `done` has it.",
}


class Body(BaseModel):
    """A response whose fields are documented by their docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def event_stream(event: Any) -> dict[str, Any]:
    """Content of a response that is server-sent events.

    Args:
        event: type of what is in `data`, in JSON; its `type` is the event's name.
    """
    schema = _written_out(TypeAdapter(event).json_schema(mode="serialization"))
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    item = {"type": "object", "required": ["event", "data"], "properties": {"event": {"type": "string"}}}
    return {"text/event-stream": {"itemSchema": item | {"properties": item["properties"] | {"data": data}}}}


def whole_or_stream(description: str, *, whole: str, streamed: str) -> dict[int | str, dict[str, Any]]:
    """The 200 of an endpoint that answers as another vendor's does, with an `anytime` object.

    Args:
        whole: what the body is.
        streamed: what comes instead where `stream` is true.
    """
    body = {"type": "object", "description": whole, "properties": {"anytime": ANYTIME_OBJECT}}
    return {
        200: {
            "description": description,
            "content": {
                "application/json": {"schema": body},
                "text/event-stream": {"schema": {"type": "string", "description": streamed}},
            },
        }
    }


def _written_out(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references: those of a response's content would have nowhere to point."""
    definitions = schema.pop("$defs", {})

    def of(part: Any) -> Any:
        match part:
            case {"$ref": str(reference)}:
                return of(definitions[reference.rpartition("/")[2]])
            case dict():
                return {key: of(value) for key, value in part.items() if key != "discriminator"}
            case list():
                return [of(value) for value in part]
        return part

    return of(schema)
