"""Every response says which request it answers, and the request is known by that within."""

from __future__ import annotations

from typing import Any

import pytest

from ..conftest import QUESTION

OWN = {"X-Request-Id": "job:7-"}


async def test_a_client_may_name_its_request(served: Any) -> None:
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
async def test_a_name_that_is_not_one_is_not_taken(served: Any, given: str) -> None:
    server = await served()
    response = await server.http.get("/health", headers=[("X-Request-Id", given.encode())])
    assert response.headers["x-request-id"].startswith("req_")


async def test_a_session_names_its_response_where_the_client_does_not(served: Any) -> None:
    server = await served()
    [begun, *_] = await server.stream(budget=3)
    response = await server.http.post("/v1/anytime", json=QUESTION | {"stream": False})
    assert begun["id"].startswith("any-")
    assert response.headers["x-request-id"] == response.json()["id"]


async def test_no_two_are_named_alike(served: Any) -> None:
    server = await served()
    names = [(await server.http.get("/health")).headers["x-request-id"] for _ in range(5)]
    assert len(set(names)) == 5


async def test_anthropics_errors_have_the_same_name_in_the_body(served: Any) -> None:
    server = await served()
    for headers, name in [({}, "req_"), (OWN, "job:7-")]:
        response = await server.http.post("/v1/messages", json={}, headers=headers)
        told = response.json()["request_id"]
        assert told == response.headers["request-id"] == response.headers["x-request-id"]
        assert told.startswith(name)
