"""Aliases: other names of the model, in every dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.auth import RequestLimits
from anytime_server.scheduler.operator_limits import OperatorLimits

from .conftest import Served
from .test_adapters import DIALECTS, record

NAMES = ("claude-sonnet-4-5", "gpt-5")


async def with_aliases(served: Callable[..., Any], *names: str, **options: Any) -> Served:
    limits = OperatorLimits(aliases={name: RequestLimits() for name in names})
    return await served(thinking_tokens=5, options={"limits": limits, **options})


@pytest.mark.parametrize("path", DIALECTS)
async def test_response_has_the_alias_that_the_request_had(served: Callable[..., Any], path: str) -> None:
    server = await with_aliases(served, *NAMES)
    for name in (*NAMES, server.scheduler.model.name):
        response = await server.http.post(path, json=DIALECTS[path] | {"model": name})
        assert response.status_code == 200, response.text
        assert response.json()["model"] == name
    unknown = await server.http.post(path, json=DIALECTS[path] | {"model": "gpt-6"})
    assert unknown.status_code == 404
    assert "'claude-sonnet-4-5', 'gpt-5'" in unknown.text


@pytest.mark.parametrize("path", DIALECTS)
async def test_star_alias_accepts_every_name(served: Callable[..., Any], path: str) -> None:
    server = await with_aliases(served, "*", adapters=["french"])
    found = record(server)
    for name in ("o3", "french"):
        response = await server.http.post(path, json=DIALECTS[path] | {"model": name})
        assert response.json()["model"] == name
    assert {request.adapter for request in found} == {None, "french"}


async def test_models_lists_aliases_with_the_models_card(served: Callable[..., Any]) -> None:
    server = await with_aliases(served, "gpt-5", "*", adapters=["french"])
    name = server.scheduler.model.name
    cards = (await server.http.get("/v1/models")).json()["data"]
    assert [(card["id"], card["root"], card["parent"]) for card in cards] == [
        (name, name, None),
        ("french", "french", name),
        ("gpt-5", name, None),
    ]
    assert cards[2] | {"id": name} == cards[0]
    assert (await server.http.get("/v1/models/gpt-5")).json() == cards[2]
    assert (await server.http.get("/v1/models/anything")).json()["root"] == name


async def test_metrics_have_configured_names_only(served: Callable[..., Any]) -> None:
    server = await with_aliases(served, "gpt-5", "*")
    for name in ("gpt-5", "made-up", server.scheduler.model.name):
        await server.think(model=name, budget=1)
    text = (await server.http.get("/metrics")).text
    assert 'anytime_prompt_tokens_count{model="gpt-5"} 1.0' in text
    assert f'anytime_prompt_tokens_count{{model="{server.scheduler.model.name}"}} 2.0' in text
    assert "made-up" not in text


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("name", ["\ud800", "x" * 257])
async def test_star_takes_no_name_that_cannot_be_written_often(
    served: Callable[..., Any], path: str, name: str
) -> None:
    server = await with_aliases(served, "*")
    body = json.dumps(DIALECTS[path] | {"model": name})
    response = await server.http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 404, response.text
