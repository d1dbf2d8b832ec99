"""The OpenAPI document of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import httpx2
import pytest
from anytime_server.api.native import events

VENDORS = {"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"}


@pytest.fixture
async def document(served: Callable[..., Any]) -> dict[str, Any]:
    return (await (await served()).http.get("/openapi.json")).json()


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def _references(part: Any) -> Iterator[str]:
    match part:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for value in part.values():
                yield from _references(value)
        case list():
            for value in part:
                yield from _references(value)


def _event_schemas(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Schemas by event type."""
    content = document["paths"]["/v1/anytime"]["post"]["responses"]["200"]["content"]
    data = content["text/event-stream"]["itemSchema"]["properties"]["data"]
    assert data["contentMediaType"] == "application/json"
    return {one["properties"]["type"]["const"]: one for one in data["contentSchema"]["oneOf"]}


def test_every_event_is_documented(document: dict[str, Any]) -> None:
    union, _ = get_args(events.Event)
    types = {one.model_fields["type"].default for one in get_args(union)}
    assert set(_event_schemas(document)) == types


async def test_events_have_the_documented_fields(
    served: Callable[..., Any], document: dict[str, Any]
) -> None:
    schemas = _event_schemas(document)
    for event in await (await served(thinking_tokens=20)).stream(budget=8, budgets=[4]):
        assert set(event) == set(schemas[event["type"]]["properties"])


def test_every_reference_has_a_target(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    named = {reference.removeprefix("#/components/schemas/") for reference in _references(document)}
    assert named
    assert named <= set(schemas)


def test_every_operation_documents_its_errors(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        assert operation["description"], name
        assert "422" not in operation["responses"], f"{name} promises an error body that is never sent"
        if "/v1/" in name and name != "get /v1/models":
            assert "4XX" in operation["responses"], name


def test_dialects_document_the_stream_and_the_anytime_object(document: dict[str, Any]) -> None:
    for path in VENDORS:
        content = document["paths"][path]["post"]["responses"]["200"]["content"]
        assert set(content) == {"application/json", "text/event-stream"}
        assert "anytime" in content["application/json"]["schema"]["properties"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/anytime", {}),
        ("/v1/chat/completions", {}),
        ("/v1/completions", {}),
        ("/tokenize", {}),
        ("/detokenize", {}),
        ("/v1/responses", {}),
        ("/v1/messages", {}),
        ("/v1/models/another", None),
    ],
)
async def test_errors_have_the_documented_fields(
    served: Callable[..., Any], document: dict[str, Any], path: str, body: dict[str, Any] | None
) -> None:
    http: httpx2.AsyncClient = (await served()).http
    method = "get" if body is None else "post"
    response = await http.request(method.upper(), path, json=body)
    assert 400 <= response.status_code < 500

    operations = document["paths"].get(path) or document["paths"]["/v1/models/{name}"]
    reference = operations[method]["responses"]["4XX"]["content"]["application/json"]["schema"]["$ref"]
    schemas = document["components"]["schemas"]
    described = schemas[reference.rpartition("/")[2]]["properties"]
    assert set(response.json()) == set(described)
    inner = schemas[described["error"]["$ref"].rpartition("/")[2]]["properties"]
    assert set(response.json()["error"]) == set(inner)
