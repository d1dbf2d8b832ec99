"""Authentication by API key, its errors in each dialect, and the limits of a key."""

from __future__ import annotations

import asyncio
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from anytime_server.auth import Keyring

from ..conftest import QUESTION, Served
from ..keys import account, bearer, key, keyring

OPEN = ["/health", "/ready", "/openapi.json", "/", "/playground/main.js", "/playground/nothing"]
PROTECTED = [
    ("POST", "/v1/anytime"),
    ("POST", "/v1/anytime/any-1/answer"),
    ("DELETE", "/v1/anytime/any-1"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/chat/completions/control"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/models"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/nothing"),
    ("OPTIONS", "/v1/anytime"),
    ("GET", "/metrics"),
    ("HEAD", "/metrics"),
    ("GET", "/version"),
    ("GET", "/nothing"),
    ("POST", "//v1/anytime"),
    ("POST", "/V1/anytime"),
    ("POST", "/%76%31/anytime"),
    ("POST", "/v1%2fanytime"),
    ("POST", "/playground/..%2fv1/anytime"),
    ("GET", "/health/"),
    ("GET", "/health%0a"),
    ("GET", "//metrics"),
    ("GET", "/metrics/"),
    ("GET", "/playground/a/b"),
]


async def test_every_path_needs_a_key_but_those_that_are_open(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice"))})
    for path in OPEN:
        assert (await server.http.get(path)).status_code in (200, 404), path
    for method, path in PROTECTED:
        response = await server.http.request(method, server.url + path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer alice"}, 200),
        ({"Authorization": "bearer  alice"}, 200),
        ({"x-api-key": "alice"}, 200),
        ({"api-key": "alice"}, 200),
        ({"Authorization": "Basic YTpi", "x-api-key": "alice"}, 200),
        ({"Authorization": "Bearer mallory", "x-api-key": "alice"}, 401),
        ({"Authorization": "alice"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "mallory"}, 401),
        ({"x-api-key": "dora"}, 403),
        ({"x-api-key": "ed"}, 403),
    ],
)
async def test_the_key_is_found_in_any_of_its_headers(
    served: Any, headers: dict[str, str], status: int
) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    keys = keyring(key("alice"), key("dora", disabled=True), key("ed", expires=past))
    server = await served(app={"keyring": keys})
    assert (await server.http.get("/v1/models", headers=headers)).status_code == status


async def test_metrics_need_a_key_of_their_role(served: Any) -> None:
    keys = keyring(key("alice"), key("prometheus", role="metrics"))
    server = await served(app={"keyring": keys})
    found = {
        (path, name): (await server.http.get(path, headers=bearer(name))).status_code
        for path in ("/metrics", "/version", "/v1/models")
        for name in ("alice", "prometheus")
    }
    assert found == {
        ("/metrics", "alice"): 403,
        ("/metrics", "prometheus"): 200,
        ("/version", "alice"): 200,
        ("/version", "prometheus"): 200,
        ("/v1/models", "alice"): 200,
        ("/v1/models", "prometheus"): 403,
    }


async def test_metrics_can_be_open(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice")), "metrics_are_open": True})
    for path, status in {"/metrics": 200, "/version": 200, "/v1/models": 401, "//metrics": 401}.items():
        assert (await server.http.get(server.url + path)).status_code == status, path


async def test_the_keys_follow_their_file(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anytime_server.auth.keyring.CHECK_EVERY_S", 0.01)
    entries = {
        name: f'[[keys]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'
        for name in ("alice", "bob")
    }
    path = tmp_path / "keys.toml"
    await asyncio.to_thread(path.write_text, entries["alice"])
    server = await served(app={"keyring": Keyring.of(str(path))})
    assert (await server.http.get("/v1/models", headers=bearer("alice"))).status_code == 200
    await asyncio.to_thread(path.write_text, entries["bob"])
    while (await server.http.get("/v1/models", headers=bearer("bob"))).status_code != 200:
        await asyncio.sleep(0.01)
    assert (await server.http.get("/v1/models", headers=bearer("alice"))).status_code == 401


async def test_each_dialect_reports_authentication_errors(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice"), key("dora", disabled=True))})
    found = {}
    for path in ("/v1/anytime", "/v1/chat/completions", "/v1/responses", "/v1/messages"):
        for name in ("mallory", "dora"):
            response = await server.http.post(path, json={}, headers=bearer(name))
            assert "mallory" not in response.text
            error = response.json()["error"]
            found[path, name] = (response.status_code, error.get("type"), error.get("code"))
    unknown, disabled = (401, None, "invalid_api_key"), (403, None, "permission_denied")
    openai = {
        "mallory": (401, "invalid_request_error", "invalid_api_key"),
        "dora": (403, "invalid_request_error", "permission_denied"),
    }
    assert found == {
        ("/v1/anytime", "mallory"): unknown,
        ("/v1/anytime", "dora"): disabled,
        **{
            (path, name): openai[name]
            for path in ("/v1/chat/completions", "/v1/responses")
            for name in openai
        },
        ("/v1/messages", "mallory"): (401, "authentication_error", None),
        ("/v1/messages", "dora"): (403, "permission_error", None),
    }


async def test_without_keys_every_request_is_served_without_limit_headers(served: Any) -> None:
    server = await served()
    response = await server.http.get("/v1/models", headers=bearer("whatever"))
    assert response.status_code == 200
    assert not [name for name in response.headers if "ratelimit" in name]


async def started(server: Served, name: str) -> tuple[Any, str]:
    """A stream opened with the key `name`, and the id of its session."""
    request = server.http.build_request(
        "POST", "/v1/anytime", json=QUESTION | {"budget": 50}, headers=bearer(name)
    )
    response = await server.http.send(request, stream=True)
    return response, response.headers["x-request-id"]


async def test_only_its_own_key_controls_a_session(served: Any) -> None:
    server = await served(
        app={"keyring": keyring(key("alice"), key("bob"))}, never_end=True, seconds_per_token=30
    )
    response, session_id = await started(server, "alice")
    controls = [
        ("POST", f"/v1/anytime/{session_id}/answer"),
        ("POST", f"/v1/anytime/{session_id}/extend"),
        ("DELETE", f"/v1/anytime/{session_id}"),
    ]
    for method, path in controls:
        refused = await server.http.request(method, path, json={"tokens": 1}, headers=bearer("bob"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_session")
    for method, path in [controls[1], controls[2]]:
        done = await server.http.request(method, path, json={"tokens": 1}, headers=bearer("alice"))
        assert done.status_code in (202, 204), done.text
    assert b"cancelled" in await response.aread()


async def test_only_its_own_key_controls_a_chat_completion(served: Any) -> None:
    server = await served(
        app={"keyring": keyring(key("alice"), key("bob"))}, never_end=True, seconds_per_token=30
    )
    body = QUESTION | {"model": "tiny", "stream": True, "reasoning_control": True}
    request = server.http.build_request("POST", "/v1/chat/completions", json=body, headers=bearer("alice"))
    response = await server.http.send(request, stream=True)
    control = {"id": response.headers["x-request-id"], "action": "reasoning_end"}
    for name, success in [("bob", False), ("alice", True)]:
        done = await server.http.post("/v1/chat/completions/control", json=control, headers=bearer(name))
        assert done.json()["success"] is success, done.text
    await response.aclose()


async def test_a_key_has_a_limit_of_concurrent_requests(served: Any) -> None:
    keys = keyring(key("alice", concurrency=1), key("bob"))
    server = await served(app={"keyring": keys}, never_end=True, seconds_per_token=30)
    response, _ = await started(server, "alice")
    refused = await server.http.post("/v1/anytime", json=QUESTION, headers=bearer("alice"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert "1 requests at a time" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-policy"] == '"concurrency";q=1;qu="concurrent-requests"'
    assert refused.headers["ratelimit"] == '"concurrency";r=0'
    other, _ = await started(server, "bob")
    await other.aclose()
    await response.aclose()
    async with asyncio.timeout(5):
        while account(keys, "alice").num_under_way:
            await asyncio.sleep(0.01)


async def test_unused_thinking_tokens_are_refunded(served: Any) -> None:
    keys = keyring(key("alice", requests_per_minute=3, thinking_tokens_per_minute=100))
    server = await served(app={"keyring": keys}, never_end=True)
    body = QUESTION | {"budget": 60, "stream": False}
    response = await server.http.post("/v1/anytime", json=body, headers=bearer("alice"))
    assert response.json()["stop"]["thinking_tokens"] == 60
    assert response.headers["ratelimit-policy"] == (
        '"requests";q=3;w=60, "thinking-tokens";q=100;w=60;qu="thinking-tokens"'
    )
    requests, tokens = re.findall(r"r=(\d+);t=\d+", response.headers["ratelimit"])
    assert (requests, int(tokens) // 20) == ("2", 2)  # 40, and the refill since
    refused = await server.http.post("/v1/anytime", json=body, headers=bearer("alice"))
    assert (refused.status_code, refused.json()["error"]["field"]) == (429, "budget")
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    never = await server.http.post("/v1/anytime", json=body | {"budget": 101}, headers=bearer("alice"))
    assert (never.status_code, never.json()["error"]["field"]) == (422, "budget")
    assert "the most is 100" in never.json()["error"]["message"]
    assert "retry-after" not in never.headers
    assert account(keys, "alice").num_under_way == 0


async def test_all_sampled_tokens_count(served: Any) -> None:
    """Thinking, early answers and the answer. The most that may be sampled is reserved meanwhile."""
    keys = keyring(key("alice", tokens_per_day=1000))
    server = await served(app={"keyring": keys}, never_end=True)
    body = QUESTION | {"budget": 40, "budgets": [10, 20], "stream": False}
    response = await server.http.post("/v1/anytime", json=body, headers=bearer("alice"))
    usage = response.json()["usage"]
    assert response.headers["ratelimit-policy"] == '"tokens-per-day";q=1000;w=86400;qu="tokens"'
    used = usage["thinking_tokens"] + usage["provisional_tokens"] + usage["answer_tokens"]
    assert (usage["thinking_tokens"], usage["provisional_tokens"]) == (40, 6)
    assert f";r={1000 - used};" in response.headers["ratelimit"]
    probes = {"budget": 400, "stop_when": {"stable": 400, "every_tokens": 1}}
    never = await server.http.post("/v1/anytime", json=body | probes, headers=bearer("alice"))
    assert (never.status_code, never.json()["error"]["field"]) == (422, "budget")
    assert "the most is 1000" in never.json()["error"]["message"]


async def test_vendors_headers_have_the_limit_of_which_the_least_remains(served: Any) -> None:
    limits = {"requests_per_minute": 9, "requests_per_day": 3, "tokens_per_day": 900}
    keys = keyring(key("alice", thinking_tokens_per_minute=1000, **limits))
    server = await served(app={"keyring": keys})
    for path, name in {
        "/v1/models": "x-ratelimit-{}-{}",
        "/v1/messages": "anthropic-ratelimit-{1}-{0}",
    }.items():
        headers = (await server.http.get(path, headers=bearer("alice"))).headers
        assert headers[name.format("limit", "requests")] == "3"
        assert headers[name.format("limit", "tokens")] == headers[name.format("remaining", "tokens")] == "900"
