"""Fields without effect: ignored and reported, but refused by a strict server and in the native API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.text.model import Model

USER = {"role": "user", "content": "7-3"}
PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": [USER], "max_tokens": 60}),
    "responses": ("/v1/responses", {"input": [USER], "max_output_tokens": 60}),
    "messages": ("/v1/messages", {"messages": [USER], "max_tokens": 60}),
}
FUNCTION = {"name": "add", "parameters": {"type": "object"}}
CHAT_TOOL = {"type": "function", "function": FUNCTION}
FLAT_TOOL = {"type": "function"} | FUNCTION
TOOL = {"name": "add", "input_schema": {"type": "object"}}
ADAPTIVE = {"type": "adaptive"}

PARTS = [{"type": "text", "text": "7", "mood": 1, "cache_control": {"type": "ephemeral"}}]
IGNORED: list[tuple[str, str, dict[str, Any]]] = [
    *((dialect, "nonsense", {"nonsense": {"deep": [1]}}) for dialect in PATHS),
    *((dialect, "anytime.nonsense", {"anytime": {"nonsense": False}}) for dialect in PATHS),
    ("chat", "max_tokens", {"max_tokens": 100_000}),
    ("chat", "max_completion_tokens", {"max_tokens": None, "max_completion_tokens": 100_000}),
    ("responses", "max_output_tokens", {"max_output_tokens": 100_000}),
    ("messages", "max_tokens", {"max_tokens": 100_000}),
    ("chat", "reasoning_effort", {"reasoning_effort": "high", "thinking_token_budget": 10}),
    ("chat", "reasoning.effort", {"reasoning": {"effort": "high"}, "anytime": {"budget": 10}}),
    ("responses", "reasoning.effort", {"reasoning": {"effort": "low"}, "thinking_token_budget": 3}),
    ("messages", "output_config.effort", {"output_config": {"effort": "high"}}),
    (
        "messages",
        "output_config.effort",
        {"output_config": {"effort": "low"}, "thinking": ADAPTIVE | {"budget_tokens": 9}},
    ),
    ("chat", "messages.0.mood", {"messages": [USER | {"mood": "good"}, USER | {"mood": "bad"}]}),
    ("chat", "messages.0.tool_call_id", {"messages": [USER | {"tool_call_id": "c"}]}),
    ("chat", "messages.0.content.0.mood", {"messages": [USER | {"content": PARTS}]}),
    ("chat", "thinking.display", {"thinking": ADAPTIVE | {"display": "omitted"}}),
    ("chat", "top_logprobs", {"top_logprobs": 2}),
    ("chat", "verbosity", {"verbosity": "low"}),
    ("chat", "custom_params.more", {"custom_params": {"more": 1}}),
    ("chat", "modalities", {"modalities": ["text", "audio"]}),
    ("chat", "reasoning_format", {"reasoning_format": "deepseek-legacy"}),
    ("chat", "stream_options.continuous_usage_stats", {"stream_options": {"continuous_usage_stats": True}}),
    ("chat", "web_search_options", {"web_search_options": {}}),
    ("chat", "functions", {"functions": [{"name": "f"}]}),
    ("chat", "tools.0.function.mood", {"tools": [CHAT_TOOL | {"function": FUNCTION | {"mood": 1}}]}),
    ("responses", "input.0.mood", {"input": [USER | {"mood": "x"}]}),
    ("responses", "background", {"background": True, "store": False}),
    ("responses", "truncation", {"truncation": "auto"}),
    ("responses", "tools.0", {"tools": [{"type": "web_search"}, {"type": "mcp", "server_label": "x"}]}),
    ("responses", "input.0", {"input": [{"type": "web_search_call", "id": "ws_1"}, USER]}),
    ("responses", "reasoning.mode", {"reasoning": {"mode": "pro"}}),
    ("responses", "top_logprobs", {"top_logprobs": 2}),
    ("responses", "text.verbosity", {"text": {"verbosity": "high"}}),
    ("responses", "include", {"include": ["reasoning.encrypted_content"], "reasoning": {"exclude": True}}),
    ("responses", "include", {"tools": [FLAT_TOOL], "include": ["message.output_text.logprobs"]}),
    ("messages", "messages.0.content.0.mood", {"messages": [USER | {"content": PARTS}]}),
    ("messages", "container", {"container": "c"}),
    ("messages", "tools.0", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("messages", "mcp_servers", {"mcp_servers": [{"type": "url"}]}),
    ("messages", "speed", {"speed": "fast"}),
    ("messages", "context_management", {"context_management": {"edits": []}}),
    ("messages", "tools.0.defer_loading", {"tools": [TOOL | {"defer_loading": True}]}),
]  # fmt: skip
HARMLESS: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"user": "me", "metadata": {"a": "b"}, "store": True, "verbosity": "medium"}),
    ("chat", {"usage": {"include": True}, "stream_options": {"include_obfuscation": True}}),
    ("chat", {"max_tokens": 10, "max_completion_tokens": 20, "thinking": {"type": "enabled"}}),
    ("responses", {"client_metadata": {"session_id": "s"}, "include": ["web_search_call.results"]}),
    ("responses", {"store": False, "prompt_cache_key": "k", "background": False, "truncation": "disabled"}),
    ("messages", {"cache_control": {"type": "ephemeral"}, "metadata": {"user_id": "u"}, "speed": "standard"}),
    ("messages", {"thinking": {"type": "enabled"}}),
]  # fmt: skip


def last_event(text: str) -> dict[str, Any]:
    """The `anytime` object of a stream."""
    data = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    [anytime] = [
        found
        for event in data
        if (found := event.get("anytime") or event.get("response", {}).get("anytime")) is not None
    ]
    return anytime


async def test_fields_without_effect_are_reported_in_every_form(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model)
    for dialect, field, fields in IGNORED:
        path, body = PATHS[dialect]
        whole = await server.http.post(path, json=body | fields)
        assert whole.status_code == 200, (fields, whole.text)
        assert whole.json()["anytime"]["ignored"] == [field], fields
        assert whole.headers["X-Anytime-Ignored"] == field
        streamed = await server.http.post(path, json=body | fields | {"stream": True})
        assert last_event(streamed.text)["ignored"] == [field]
        assert streamed.headers["X-Anytime-Ignored"] == field


async def test_strict_server_refuses_what_would_be_ignored(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model, app={"is_strict": True})
    for dialect, field, fields in IGNORED:
        path, body = PATHS[dialect]
        refused = await server.http.post(path, json=body | fields)
        assert refused.status_code == 400, (fields, refused.text)
        assert field in refused.json()["error"]["message"], fields


@pytest.mark.parametrize("is_strict", [False, True])
async def test_harmless_fields_are_not_reported(served: Any, is_strict: bool) -> None:
    server = await served(app={"is_strict": is_strict})
    for dialect, fields in HARMLESS:
        path, body = PATHS[dialect]
        reply = await server.http.post(path, json=body | fields)
        assert reply.status_code == 200, (fields, reply.text)
        assert reply.json()["anytime"]["ignored"] == []
        assert "X-Anytime-Ignored" not in reply.headers


async def test_number_beats_a_word(served: Any) -> None:
    server = await served(never_end=True)
    path, body = PATHS["chat"]
    reply = await server.http.post(path, json=body | {"reasoning_effort": "high", "thinking_budget": 10})
    assert reply.json()["anytime"]["stop"] == {"cause": "budget", "budget_tokens": 10, "thinking_tokens": 10}


async def test_total_over_the_window_leaves_what_fits(served: Any) -> None:
    server = await served(never_end=True, answer="42")
    path, body = PATHS["messages"]
    thinking = {"type": "enabled", "budget_tokens": 99_999}
    reply = (await server.http.post(path, json=body | {"max_tokens": 100_000, "thinking": thinking})).json()
    assert reply["anytime"]["ignored"] == ["max_tokens", "thinking.budget_tokens"]
    assert reply["anytime"]["stop"]["cause"] == "context"
    assert reply["content"][-1] == {"type": "text", "text": "42"}
    alone = {"max_tokens": 100_000, "thinking": thinking | {"budget_tokens": 100_001}}
    assert (await server.http.post(path, json=body | alone)).status_code == 400


async def test_header_reports_what_a_body_without_an_anytime_object_cannot(served: Any) -> None:
    server = await served()
    body = {"model": "tiny", "messages": [USER], "nonsense": 1}
    reply = await server.http.post("/v1/messages/count_tokens", json=body)
    assert (reply.status_code, reply.headers["X-Anytime-Ignored"]) == (200, "nonsense")


async def test_native_api_refuses_unknown_fields(served: Any) -> None:
    server = await served()
    for field, fields in [
        ("nonsense", {"nonsense": 1}),
        ("answer.nonsense", {"answer": {"nonsense": 1}}),
        ("messages.0.nonsense", {"messages": [USER | {"nonsense": 1}]}),
    ]:
        refused = await server.http.post("/v1/anytime", json={"messages": [USER]} | fields)
        assert refused.status_code == 422
        assert refused.json()["error"] == {
            "code": "invalid_request",
            "message": f"{field}: unknown field",
            "field": field,
        }


async def test_ignored_fields_are_counted_by_known_names_only(served: Any) -> None:
    server = await served()
    path, body = PATHS["chat"]
    for name in ("nonsense", "more nonsense", "\u2028\ud800", "x" * 10_000):
        content = json.dumps(body | {name: 1, "verbosity": "low"})
        reply = await server.http.post(path, content=content, headers={"Content-Type": "application/json"})
        assert len(reply.json()["anytime"]["ignored"]) == 2
        assert "verbosity" in reply.headers["X-Anytime-Ignored"]
    counted = [
        line
        for line in (await server.http.get("/metrics")).text.splitlines()
        if "ignored_fields_total{" in line
    ]
    assert sorted(counted) == [
        'anytime_ignored_fields_total{field="unknown"} 4.0',
        'anytime_ignored_fields_total{field="verbosity"} 4.0',
    ]


async def test_each_kind_of_field_is_reported_once_and_not_without_end(served: Any) -> None:
    server = await served()
    path, body = PATHS["chat"]
    many = {f"field{number}": 1 for number in range(100)}
    reply = (await server.http.post(path, json=body | many)).json()
    assert reply["anytime"]["ignored"] == list(many)[:64]
