"""Web pages of other origins: refused by default, and allowed with all headers that they need."""

from __future__ import annotations

from typing import Any

import pytest
from anytime_server.scheduler.compile import RequestCompiler

from .conftest import QUESTION
from .keys import bearer, key, keyring

PAGE = "https://page.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-request-id",
}
ALLOWED, EXPOSED = "access-control-allow-origin", "access-control-expose-headers"


async def test_no_origin_is_allowed_by_default(served: Any) -> None:
    server = await served()
    for response in [
        await server.http.options("/v1/anytime", headers=PREFLIGHT),
        await server.http.post("/v1/anytime", json=QUESTION, headers={"Origin": PAGE}),
    ]:
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_a_preflight_needs_no_key(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice")), "cors_origins": [PAGE]})
    response = await server.http.options("/v1/anytime", headers=PREFLIGHT)
    assert (response.status_code, response.headers[ALLOWED]) == (200, PAGE)
    assert "DELETE" in response.headers["access-control-allow-methods"]
    for name in ("authorization", "x-request-id"):
        assert name in response.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in response.headers
    other = await server.http.options("/v1/anytime", headers=PREFLIGHT | {"Origin": "https://other.example"})
    assert other.status_code == 400
    assert ALLOWED not in other.headers


async def test_pages_can_read_streams_and_errors(served: Any) -> None:
    keys = keyring(key("alice", requests_per_minute=2))
    server = await served(
        app={"keyring": keys, "cors_origins": [PAGE], "max_header_bytes": 4096, "max_body_bytes": 2048}
    )
    alice, mallory = bearer("alice"), bearer("mallory")
    statuses = []
    for headers, body in [
        (alice, {}),
        (alice, QUESTION),
        (alice, QUESTION),
        (alice, {"messages": ["7" * 3000]}),
        (mallory, QUESTION),
        (alice | {"x-a": "a" * 5000}, QUESTION),
    ]:
        response = await server.http.post("/v1/anytime", json=body, headers={"Origin": PAGE} | headers)
        statuses.append(response.status_code)
        assert response.headers[ALLOWED] == PAGE, response.status_code
        for name in ("X-Request-Id", "Retry-After", "RateLimit", "x-ratelimit-remaining-tokens"):
            assert name in response.headers[EXPOSED].split(", ")
        assert "x-request-id" in response.headers
    assert statuses == [422, 200, 429, 413, 401, 431]


async def test_a_star_allows_every_origin(served: Any) -> None:
    server = await served(app={"cors_origins": ["*"]})
    response = await server.http.get("/health", headers={"Origin": PAGE})
    assert response.headers[ALLOWED] == "*"
    assert "access-control-allow-credentials" not in response.headers


async def test_pages_can_read_unexpected_errors(
    served: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server = await served(app={"cors_origins": [PAGE]})

    async def fail(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(RequestCompiler, "compile", fail)
    for path, more in [("/v1/anytime", {}), ("/v1/chat/completions", {"model": "tiny"})]:
        response = await server.http.post(path, json=QUESTION | more, headers={"Origin": PAGE})
        assert (response.status_code, response.headers[ALLOWED]) == (500, PAGE)
        assert response.headers["x-request-id"].startswith("req_")
        assert response.json()["error"]["message"] == "an unexpected error; the server's log has it"
    assert capfd.readouterr().err.count("\nZeroDivisionError: secret") == 2
