"""Paths of every dialect: without `/v1`, unknown ones, and who answers for them."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .conftest import QUESTION, Served
from .keys import key, keyring

MODEL = {"model": "tiny"}
REQUESTS: dict[str, dict[str, Any]] = {
    "/anytime": QUESTION | {"stream": False},
    "/chat/completions": QUESTION | MODEL,
    "/completions": {"prompt": "7-3"},
    "/messages": QUESTION | MODEL | {"max_tokens": 60},
    "/messages/count_tokens": QUESTION | MODEL,
    "/responses": {"input": "7-3"},
}


@pytest.fixture(name="server")
async def fixture_server(served: Any) -> Served:
    return await served(thinking_tokens=5)


async def test_version_may_be_left_out(server: Served) -> None:
    for path, body in REQUESTS.items():
        for prefix in ("", "/v1"):
            response = await server.http.post(prefix + path, json=body)
            assert response.status_code == 200, response.text


async def test_models_without_the_version(server: Served) -> None:
    assert (await server.http.get("/models")).json() == (await server.http.get("/v1/models")).json()
    assert (await server.http.get("/models/tiny")).json()["id"] == "tiny"


async def test_document_lists_each_endpoint_once(server: Served) -> None:
    paths = set((await server.http.get("/openapi.json")).json()["paths"])
    assert {"/v1/completions", "/tokenize", "/detokenize", "/load", "/ping"} <= paths
    assert not {path for path in paths if f"/v1{path}" in paths}


async def test_metrics_count_both_under_one_path(server: Served) -> None:
    await server.http.post("/completions", json={"prompt": "7-3"})
    await server.http.post("/v1/completions", json={"prompt": "7-3"})
    counted = {
        sample.labels["path"]: sample.value
        for family in text_string_to_metric_families((await server.http.get("/metrics")).text)
        for sample in family.samples
        if sample.name == "anytime_http_responses_total"
    }
    assert counted["/v1/completions"] == 2


UNKNOWN = {
    "/v1/embeddings": "openai",
    "/embeddings": "native",
    "/v1/chat/nothing": "openai",
    "/chat/nothing": "openai",
    "/v1/completions/nothing": "openai",
    "/v1/messages/batches": "anthropic",
    "/messages/batches": "anthropic",
    "/v1/anytime/a/b/c": "native",
    "/nothing": "native",
    "//chat": "native",
}
FORMS = {
    "openai": {"message", "type", "param", "code"},
    "native": {"message", "code", "field"},
    "anthropic": {"message", "type"},
}


KNOWN = {
    "/v1/completions": "openai",
    "/completions": "openai",
    "/tokenize": "openai",
    "/messages": "anthropic",
    "/anytime": "native",
}


async def test_unknown_paths_are_404_in_the_dialects_form(server: Served) -> None:
    for path, form in UNKNOWN.items():
        response = await server.http.post(f"{server.url}{path}", json={})
        assert (response.status_code, set(response.json()["error"])) == (404, FORMS[form]), path


async def test_wrong_methods_are_405_in_the_dialects_form(server: Served) -> None:
    for path, form in KNOWN.items():
        response = await server.http.put(path, json={})
        assert (response.status_code, set(response.json()["error"])) == (405, FORMS[form]), path


PATHS = [
    *(("POST", prefix + path) for path in REQUESTS for prefix in ("", "/v1")),
    *(("POST", "/tokenize"), ("POST", "/detokenize"), ("GET", "/load"), ("GET", "/models")),
]


async def test_paths_need_a_key_and_keep_to_the_size_limits(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice")), "max_body_bytes": 100})
    headers = {"Authorization": "Bearer alice"}
    for method, path in PATHS:
        assert (await server.http.request(method, path)).status_code == 401, path
        if method == "POST":
            large = await server.http.post(path, content=b" " * 101, headers=headers)
            assert large.status_code == 413, path


async def test_probes_need_no_key(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice"))})
    for method in ("GET", "POST", "HEAD"):
        response = await server.http.request(method, "/ping")
        assert (response.status_code, response.content) == (200, b"")


async def test_ping_fails_while_the_server_is_not_ready(served: Any) -> None:
    server = await served(ready=False, first_token_s=5, measure_speed=True)
    assert (await server.http.get("/ping")).status_code == 503


async def test_load_is_the_number_of_sessions(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.01)
    assert (await server.http.get("/load")).json() == {"server_load": 0}
    async with server.http.stream("POST", "/v1/anytime", json=QUESTION) as response:
        assert response.status_code == 200
        assert (await server.http.get("/load")).json() == {"server_load": 1}
