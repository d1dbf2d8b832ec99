"""Invalid requests get a 4xx error that names the field, and the server keeps serving."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import QUESTION

JSON = {"content-type": "application/json"}
PART = {"type": "text", "text": "7"}
BAD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("budget", {"budget": -1}),
    ("budget", {"budget": 10**12}),
    ("budget", {"budget": "64"}),
    ("budget", {"budget": 1.5}),
    ("budget", {"budget": True}),
    ("budget", {"budget": [1]}),
    ("budget.tokens", {"budget": {"tokens": -1}}),
    ("budget.tokens", {"budget": {"tokens": "5"}}),
    ("budget.deadline_ms", {"budget": {"deadline_ms": 0}}),
    ("budget.deadline_ms", {"budget": {"deadline_ms": -5}}),
    ("budget.deadline_ms", {"budget": {"deadline_ms": 10**15}}),
    ("budget.seconds", {"budget": {"seconds": 3}}),
    ("messages", {"messages": []}),
    ("messages", {"messages": "hi"}),
    ("messages", {"messages": None}),
    ("messages.0.content", {"messages": [{"role": "user", "content": ""}]}),
    ("messages.0.content", {"messages": [{"role": "user", "content": " \n "}]}),
    ("messages.0.content", {"messages": [{"role": "user", "content": []}]}),
    ("messages.0.content", {"messages": [{"role": "user", "content": 7}]}),
    ("messages.0.content", {"messages": [{"role": "user"}]}),
    ("messages.0.role", {"messages": [{"role": "wizard", "content": "x"}]}),
    ("messages", {"messages": [{"role": "assistant", "content": "x"}]}),
    ("messages.0.mood", {"messages": [{"role": "user", "content": "x", "mood": "y"}]}),
    ("messages.0.content", {"messages": [{"role": "user", "content": "7\ud800"}]}),
    (
        "messages.0.content.0.text",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}]},
    ),
    ("messages.0.reasoning", {"messages": [{"role": "user", "content": "7", "reasoning": "\ud800"}]}),
    ("messages.0.content.1.text", {"messages": [{"role": "user", "content": [PART, {"type": "text"}]}]}),
    ("messages.0.content.0", {"messages": [{"role": "user", "content": [PART | {"type": "image"}]}]}),
    ("messages.0.name", {"messages": [{"role": "user", "content": "7", "name": "\ud800"}]}),
    ("\\ud800", {"\ud800": 1}),
    ("model", {"model": "\ud800"}),
    ("messages", {"messages": [{"role": "user", "content": "7" * 1000}]}),
    ("model", {"model": "gpt-0"}),
    ("model", {"model": 3}),
    ("stream", {"stream": "yes"}),
    ("temprature", {"temprature": 1}),
    ("thinking.temperature", {"thinking": {"temperature": -1}}),
    ("thinking.temperature", {"thinking": {"temperature": "hot"}}),
    ("thinking.top_p", {"thinking": {"top_p": -0.1}}),
    ("thinking.seed", {"thinking": {"seed": 2**64}}),
    ("thinking.budget", {"thinking": {"budget": 3}}),
    ("answer.max_tokens", {"answer": {"max_tokens": 0}}),
    ("answer.max_tokens", {"answer": {"max_tokens": 10**9}}),
    ("answer.temperature", {"answer": {"temperature": 3}}),
    ("answer.forcing", {"answer": {"forcing": "push"}}),
    ("answer.response_format.type", {"answer": {"response_format": {"type": "xml"}}}),
    ("answer.response_format.json_schema", {"answer": {"response_format": {"type": "json_schema"}}}),
    (
        "answer.response_format.json_schema",
        {"answer": {"response_format": {"type": "json_object", "json_schema": {}}}},
    ),
    ("budgets", {"budgets": [8, 8]}),
    ("budgets", {"budgets": 8}),
    ("budgets", {"budgets": [8, 16], "budget": 9}),
    ("budgets", {"budgets": [8, 10_000]}),
    ("budgets", {"budgets": list(range(100))}),
    ("budgets.1", {"budgets": [8, -1]}),
    ("budgets.0", {"budgets": ["8"]}),
    ("stop_when", {"stop_when": 3}),
    ("stop_when", {"stop_when": {}}),
    ("stop_when", {"stop_when": {"min_confidence": 0.5}}),
    ("stop_when.every_tokens", {"stop_when": {"stable": 3}}),
    ("stop_when.every_tokens", {"stop_when": {"every_tokens": 3, "loop": True}}),
    ("stop_when.loop", {"stop_when": {"loop": 3}}),
    ("stop_when.loop.repeats", {"stop_when": {"loop": {"repeats": 1}}}),
    ("stop_when.loop.period", {"stop_when": {"loop": {"period": 9}}}),
    ("stop_when.stable", {"stop_when": {"stable": 1, "every_tokens": 64}}),
    ("stop_when.every_tokens", {"stop_when": {"stable": 3, "every_tokens": 0}}),
    ("stop_when.min_confidence", {"stop_when": {"stable": 3, "every_tokens": 4, "min_confidence": 2}}),
    ("continuation", {"continuation": "abc"}),
    ("continuation", {"continuation": "a1.abc.def"}),
    ("continuation", {"continuation": "a1.é.é"}),
    ("continuation", {"continuation": 7}),
]


@pytest.mark.parametrize(("field", "fields"), BAD_FIELDS, ids=[repr(fields)[:60] for _, fields in BAD_FIELDS])
async def test_native_errors_name_the_field(served: Any, field: str, fields: dict[str, Any]) -> None:
    server = await served()
    body = json.dumps(QUESTION | fields)  # in ASCII, so that it can contain lone surrogates
    response = await server.http.post("/v1/anytime", content=body, headers=JSON)
    assert response.status_code == (404 if isinstance(fields.get("model"), str) else 422)
    error = response.json()["error"]
    assert error["field"] == field
    codes = ("invalid_request", "not_supported", "unknown_model", "context_length_exceeded")
    assert error["code"] in codes
    assert error["message"]
    assert "Traceback" not in response.text
    assert (await server.think(budget=3))["answer"] == "42"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"thinking": 3}, "thinking: must be an object"),
        ({"stop_when": []}, "stop_when: must be an object"),
        ({"messages": []}, "messages: must not be empty"),
        ({"messages": [3]}, "messages.0: must be an object"),
    ],
)
async def test_error_messages_use_json_terms(served: Any, fields: dict[str, Any], message: str) -> None:
    server = await served()
    response = await server.http.post("/v1/anytime", json=QUESTION | fields)
    assert response.json()["error"]["message"] == message


async def test_error_names_the_position_of_invalid_json(served: Any) -> None:
    server = await served()
    response = await server.http.post("/v1/anytime", content=b'{"a": "\n"}', headers=JSON)
    message = "body: not valid JSON: Invalid control character at character 7"
    assert response.json()["error"]["message"] == message


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"messages": [}', b"messages=hi"]
)
@pytest.mark.parametrize("path", ["/v1/anytime", "/v1/chat/completions"])
async def test_bodies_that_are_not_json_objects_are_refused(served: Any, path: str, body: bytes) -> None:
    server = await served()
    response = await server.http.post(path, content=body, headers=JSON)
    assert response.status_code == (422 if path == "/v1/anytime" else 400)
    assert "body" in response.json()["error"]["message"]
    assert (await server.think(budget=3))["answer"] == "42"


@pytest.mark.parametrize("path", ["/v1/anytime", "/v1/chat/completions"])
async def test_body_over_the_size_limit_gets_413(served: Any, path: str) -> None:
    server = await served()
    body = QUESTION | {"messages": [{"role": "user", "content": "7" * 10_000_000}]}
    response = await server.http.post(path, json=body)
    assert response.status_code == 413
    error = response.json()["error"]
    assert error["code"] == "body_too_large"
    assert "body" in (error.get("field"), error.get("param"))
    assert (await server.think(budget=3))["answer"] == "42"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_body_without_a_json_content_type_is_refused(served: Any, content_type: str | None) -> None:
    """Without -H, curl sends such a request."""
    server = await served()
    headers = {} if content_type is None else {"content-type": content_type}
    response = await server.http.post("/v1/anytime", content=json.dumps(QUESTION), headers=headers)
    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["error"]["message"]


async def test_too_many_messages_are_refused(served: Any) -> None:
    server = await served()
    response = await server.http.post("/v1/anytime", json={"messages": [{}] * 40_000})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "messages")


async def test_deeply_nested_body_is_refused(served: Any) -> None:
    server = await served()
    response = await server.http.post("/v1/anytime", content=b"[" * 100_000, headers=JSON)
    assert response.status_code == 422
    assert (await server.think(budget=3))["answer"] == "42"


async def test_unknown_paths_and_methods_get_json_errors(served: Any) -> None:
    server = await served()
    for method, path, status in [("GET", "/nope", 404), ("GET", "/v1/anytime", 405)]:
        response = await server.http.request(method, path)
        assert response.status_code == status
        assert response.json()["error"]["message"]


async def test_special_tokens_in_a_prompt_do_not_change_the_count(served: Any) -> None:
    server = await served(never_end=True)
    messages = [{"role": "user", "content": "</think><think>7</think>"}]
    body = await server.think(messages=messages, budget=9)
    assert body["stop"] == {"cause": "budget", "budget_tokens": 9, "thinking_tokens": 9}


async def test_requests_before_the_model_is_loaded_get_503(served: Any) -> None:
    server = await served(ready=False, measure_speed=True, first_token_s=0.2)
    assert (await server.http.get("/health")).status_code == 200
    ready = await server.http.get("/ready")
    assert (ready.status_code, ready.json()["reason"]) == (503, "the model is loading")
    response = await server.http.post("/v1/anytime", json=QUESTION)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
