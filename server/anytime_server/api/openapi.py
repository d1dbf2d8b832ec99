"""Parts of the OpenAPI document that FastAPI cannot derive: streams and other vendors' objects."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from anytime_server.api.schema.outcome import AnytimeObject

NoEffect = Annotated[Any, Field(description="Accepted, without effect on what is sampled.")]


class Body(BaseModel):
    """A response whose fields are documented by their docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def error_responses(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The errors of an endpoint, with the body of its dialect."""
    return {
        "4XX": {"model": model, "description": "Refused, or cancelled meanwhile."},
        "5XX": {
            "model": model,
            "description": "503: loading, draining, full, or the engine is being restarted; nothing was "
            "sampled if it comes instead of a stream. 500: it failed.",
        },
    }


def event_stream(event: Any) -> dict[str, Any]:
    """Content of a response that is server-sent events.

    Args:
        event: type of what is in `data`, in JSON; its `type` is the event's name.
    """
    schema = _written_out(TypeAdapter(event).json_schema(mode="serialization"))
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    return {"text/event-stream": {"itemSchema": _event(data) | {"required": ["event", "data"]}}}


def whole_or_stream(description: str, *, whole: str, streamed: str) -> dict[int | str, dict[str, Any]]:
    """The 200 of an endpoint that answers as another vendor's does, with an `anytime` object.

    Args:
        whole: what the body is.
        streamed: what comes instead where `stream` is true.
    """
    anytime = _written_out(TypeAdapter(AnytimeObject).json_schema(mode="serialization"))
    body = {"type": "object", "description": whole, "properties": {"anytime": anytime}}
    return {
        200: {
            "description": description,
            "content": {
                "application/json": {"schema": body},
                "text/event-stream": {"itemSchema": {"description": streamed, **_event({"type": "string"})}},
            },
        }
    }


def _event(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["data"],
        "properties": {"event": {"type": "string"}, "data": data},
    }


def _written_out(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references, which the content of a response cannot resolve."""
    definitions = schema.pop("$defs", {})

    def of(part: Any, within: tuple[str, ...] = ()) -> Any:
        match part:
            case {"$ref": str(reference)}:
                assert reference not in within, f"{reference} is within itself"
                return of(definitions[reference.rpartition("/")[2]], (*within, reference))
            case dict():
                return {key: of(value, within) for key, value in part.items() if key != "discriminator"}
            case list():
                return [of(value, within) for value in part]
        return part

    return of(schema)
