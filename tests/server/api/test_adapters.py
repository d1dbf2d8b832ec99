"""LoRA adapters as models of their own names, in every dialect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from anytime_server.engine import Delta, EngineRequest

from .conftest import Served

USER = [{"role": "user", "content": "7-3"}]
DIALECTS: dict[str, dict[str, Any]] = {
    "/v1/anytime": {"messages": USER, "budget": 4, "stream": False},
    "/v1/chat/completions": {"messages": USER},
    "/v1/responses": {"input": "7-3"},
    "/v1/messages": {"messages": USER, "max_tokens": 40},
}


@pytest.fixture(name="server")
async def fixture_server(served: Callable[..., Any]) -> Served:
    return await served(thinking_tokens=5, options={"adapters": ["french", "german"]})


def record(server: Served) -> list[EngineRequest]:
    """The requests to the engine, as they come."""
    engine, found = server.scheduler.engine, list[EngineRequest]()
    generate = engine.generate

    async def recorded(request: EngineRequest) -> AsyncGenerator[Delta, None]:
        found.append(request)
        async for delta in generate(request):
            yield delta

    engine.generate = recorded  # pyright: ignore[reportAttributeAccessIssue]
    return found


async def test_models_lists_the_model_and_its_adapters(server: Served) -> None:
    cards = (await server.http.get("/v1/models")).json()["data"]
    name = server.scheduler.model.name
    assert [(card["id"], card["parent"]) for card in cards] == [
        (name, None),
        ("french", name),
        ("german", name),
    ]
    assert (await server.http.get("/v1/models/german")).json() == cards[2]
    assert (await server.http.get("/v1/models/dutch")).status_code == 404


@pytest.mark.parametrize("path", DIALECTS)
async def test_the_name_of_the_model_selects_the_adapter(server: Served, path: str) -> None:
    found = record(server)
    response = await server.http.post(path, json=DIALECTS[path] | {"model": "german"})
    assert response.status_code == 200, response.text
    assert {request.adapter for request in found} == {"german"}
    if path != "/v1/anytime":
        assert response.json()["model"] == "german"


async def test_the_model_itself_has_no_adapter(server: Served) -> None:
    found = record(server)
    for model in ({}, {"model": server.scheduler.model.name}):
        await server.http.post("/v1/anytime", json=DIALECTS["/v1/anytime"] | model)
    assert {request.adapter for request in found} == {None}


@pytest.mark.parametrize("path", DIALECTS)
async def test_unknown_names_get_404(server: Served, path: str) -> None:
    response = await server.http.post(path, json=DIALECTS[path] | {"model": "dutch"})
    assert response.status_code == 404
    name = server.scheduler.model.name
    assert f"no model 'dutch' is served here, only '{name}', 'french', 'german'" in response.text


async def test_started_event_names_the_adapter(server: Served) -> None:
    started = (await server.stream(model="french", budget=1))[0]
    assert (started["type"], started["model"]) == ("started", "french")
