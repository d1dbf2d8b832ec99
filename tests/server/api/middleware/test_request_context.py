"""Request ids in headers and bodies."""

from __future__ import annotations

from typing import Any

import pytest

from ..conftest import QUESTION

OWN = {"X-Request-Id": "job:7-"}


async def test_a_client_may_choose_the_request_id(served: Any) -> None:
    server = await served()
    for method, path, body in [
        ("GET", "/health", None),
        ("GET", "/nope", None),
        ("POST", "/v1/anytime", QUESTION | {"budget": 3}),
        ("POST", "/v1/anytime", QUESTION | {"budget": 3, "stream": False}),
        ("POST", "/v1/chat/completions", QUESTION | {"model": "tiny"}),
        ("POST", "/v1/anytime", {}),
    ]:
        response = await server.http.request(method, path, json=body, headers=OWN)
        assert response.headers.get_list("x-request-id") == ["job:7-"], path


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "é", 'a"b'])
async def test_a_malformed_request_id_is_replaced(served: Any, given: str) -> None:
    server = await served()
    response = await server.http.get("/health", headers=[("X-Request-Id", given.encode())])
    assert response.headers["x-request-id"].startswith("req_")


async def test_the_session_id_is_the_default_request_id(served: Any) -> None:
    server = await served()
    [started, *_] = await server.stream(budget=3)
    response = await server.http.post("/v1/anytime", json=QUESTION | {"stream": False})
    assert started["id"].startswith("any-")
    assert response.headers["x-request-id"] == response.json()["id"]


async def test_request_ids_are_unique(served: Any) -> None:
    server = await served()
    ids = [(await server.http.get("/health")).headers["x-request-id"] for _ in range(5)]
    assert len(set(ids)) == 5


async def test_anthropic_errors_carry_the_request_id_in_the_body(served: Any) -> None:
    server = await served()
    for headers, prefix in [({}, "req_"), (OWN, "job:7-")]:
        response = await server.http.post("/v1/messages", json={}, headers=headers)
        request_id = response.json()["request_id"]
        assert request_id == response.headers["request-id"] == response.headers["x-request-id"]
        assert request_id.startswith(prefix)
