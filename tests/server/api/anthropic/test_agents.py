"""Requests of agents to the Messages API: tools, blocks of other servers, and budgets up to `max_tokens`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.api.anthropic.schema import MessagesRequest, Prompt
from anytime_server.text.model import Model
from anytime_server.types import RequestContext

from .test_messages import BODY, MESSAGES, TOOL
from .test_messages_input import RESULT, USE

CACHED = {"type": "ephemeral"}
CLAUDE_CODE: dict[str, Any] = {
    "model": "tiny",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nToday is Sunday.\n</system-reminder>\n"},
                {"type": "text", "text": "say hi", "cache_control": CACHED},
            ],
        },
        {"role": "system", "content": "Agents: explore."},
    ],
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cc_entrypoint=sdk-cli;"},
        {"type": "text", "text": "You are an agent.", "cache_control": CACHED},
    ],
    "tools": [
        {
            "name": "Bash",
            "description": "Runs a command.",
            "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {"command": {"type": "string"}},
                "required": ["command"],
                "additionalProperties": False,
            },
            "eager_input_streaming": True,
        },
        {
            "name": "WebFetch",
            "description": "Gets a page.",
            "input_schema": {"type": "object"},
            "defer_loading": True,
            "cache_control": CACHED,
        },
    ],
    "metadata": {"user_id": '{"device_id": "0f", "session_id": "1"}'},
    "max_tokens": 32_000,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "stream": True,
}
"""The fields that Claude Code 2.1 sends for a first turn."""
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,effort-2025-11-24",
    "authorization": "Bearer none",
    "x-app": "cli",
}


def turns(*blocks: Any, role: str = "user") -> list[dict[str, Any]]:
    messages = [*MESSAGES, {"role": "assistant", "content": [USE]}, {"role": role, "content": list(blocks)}]
    if role == "assistant":
        messages = [*MESSAGES, messages[-1], *MESSAGES]
    return Prompt.model_validate({"messages": messages}).turns()


def text(*blocks: Any) -> str:
    return turns(*blocks)[-1]["content"]


def last_event(reply: Any, kind: str) -> dict[str, Any]:
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    return next(event for event in reversed(events) if event["type"] == kind)


async def test_turns_of_claude_code(served: Any, tool_model: Model) -> None:
    call = '<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>'
    server = await served(model=tool_model, answer=call, thinking_tokens=9, window_tokens=4096)
    reply = await server.http.post("/v1/messages?beta=true", json=CLAUDE_CODE, headers=HEADERS)
    assert reply.status_code == 200, reply.text
    assert last_event(reply, "message_delta")["delta"]["stop_reason"] == "tool_use"
    assert last_event(reply, "message_delta")["anytime"]["ignored"] == [
        "tools.1.defer_loading",
        "context_management",
        "max_tokens",
    ]
    history = [
        *CLAUDE_CODE["messages"],
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
            ],
        },
        {
            "role": "user",
            "content": [RESULT | {"is_error": False, "cache_control": CACHED, "content": "a.py"}],
        },
    ]
    body = CLAUDE_CODE | {"messages": history, "stream": False}
    whole = await server.http.post("/v1/messages?beta=true", json=body, headers=HEADERS)
    assert whole.status_code == 200, whole.text
    assert whole.json()["id"].startswith("msg_")
    counted = {name: body[name] for name in ("model", "messages", "system", "tools", "thinking")}
    tokens = await server.http.post("/v1/messages/count_tokens?beta=true", json=counted, headers=HEADERS)
    assert tokens.json()["input_tokens"] == whole.json()["usage"]["input_tokens"]


async def test_request_with_128_functions_and_21k_tokens_of_them(served: Any, tool_model: Model) -> None:
    tools = [
        TOOL | {"name": f"tool_{number}", "description": f"Tool {number}. " + "words " * 20}
        for number in range(128)
    ]
    server = await served(model=tool_model, window_tokens=65_536)
    body = BODY | {"tools": tools, "max_tokens": 200}
    reply = (await server.http.post("/v1/messages", json=body)).json()
    assert reply["content"][-1]["text"] == "42"
    assert reply["usage"]["input_tokens"] > 21_000


async def test_budget_up_to_max_tokens_leaves_the_answer_its_room(served: Any) -> None:
    """Claude Code sends one token less than `max_tokens` for models that do not think adaptively."""
    server = await served(never_end=True)
    body = BODY | {"thinking": {"type": "enabled", "budget_tokens": 99}}
    reply = (await server.http.post("/v1/messages", json=body)).json()
    assert reply["content"][-1] == {"type": "text", "text": "42"}
    assert reply["anytime"]["ignored"] == ["thinking.budget_tokens"]
    assert reply["anytime"]["stop"]["budget_tokens"] == 88  # 12 are the model's usual answer
    for fields in ({"thinking": {"type": "enabled", "budget_tokens": 100}}, {"anytime": {"budget": 99}}):
        refused = await server.http.post("/v1/messages", json=BODY | fields)
        assert refused.status_code == 400
    strict = await served(app={"is_strict": True})
    assert (await strict.http.post("/v1/messages", json=body)).status_code == 400


IGNORED: list[tuple[str, dict[str, Any]]] = [
    ("tools.0", {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]}),
    ("tools.0", {"tools": [{"type": "computer_20250124", "name": "computer", "display_width_px": 9}]}),
    ("tools.0", {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}),
    ("tools.0", {"tools": [{"type": "mcp_toolset", "mcp_server_name": "files"}]}),
    ("output_config.task_budget", {"output_config": {"task_budget": {"type": "tokens", "total": 64_000}}}),
    ("thread", {"thread": {"type": "create"}}),
    (
        "messages.0.content.0",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "x"}},
                        {"type": "text", "text": "7-3"},
                    ],
                }
            ]
        },
    ),
]


async def test_tools_and_blocks_without_effect_are_reported(served: Any) -> None:
    server = await served()  # this model takes no tools
    for field, fields in IGNORED:
        reply = await server.http.post("/v1/messages", json=BODY | fields)
        assert reply.status_code == 200, (fields, reply.text)
        assert reply.json()["anytime"]["ignored"] == [field], fields


@pytest.mark.parametrize(
    ("kind", "name", "parameter"),
    [
        ("bash_20250124", "bash", "restart"),
        ("text_editor_20250728", "str_replace_based_edit_tool", "old_str"),
        ("memory_20250818", "memory", "old_path"),
    ],
)
def test_tools_that_the_client_runs_are_functions(kind: str, name: str, parameter: str) -> None:
    tools = [{"type": kind, "name": name, "max_characters": 9, "cache_control": CACHED}]
    request = MessagesRequest.model_validate(BODY | {"tools": tools})
    [tool] = request.to_generate_request(RequestContext()).tools
    assert (tool["function"]["name"], tool["type"]) == (name, "function")
    assert {"command", parameter} <= set(tool["function"]["parameters"]["properties"])
    assert tool["function"]["description"]


def test_text_of_documents_and_searches_is_shown() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "seven"}
    found = {"type": "search_result", "title": "Sums", "source": "a.txt"} | {
        "content": [{"type": "text", "text": "is 4"}]
    }
    assert text({"type": "document", "source": plain, "title": "T", "context": "C"}) == "T\nC\nseven\n"
    assert text({"type": "document", "source": {"type": "content", "content": "six"}}) == "six\n"
    assert text(found, {"type": "text", "text": "?"}) == "Sums\na.txt\nis 4\n?"
    result = RESULT | {"content": [{"type": "text", "text": "see "}, found]}
    assert text(result) == "see Sums\na.txt\nis 4\n"


def test_tools_that_a_search_found_are_named() -> None:
    result = RESULT | {"content": [{"type": "tool_reference", "tool_name": name} for name in ("a", "b")]}
    assert text(result) == "a\nb\n"


def test_summary_of_earlier_turns_is_text() -> None:
    summary = {"type": "compaction", "content": "We added.", "signature": "x"}
    assert turns(summary, role="assistant")[1]["content"].strip() == "We added."
    assert turns({"type": "compaction", "content": None}, role="assistant")[1]["content"] == ""


def test_tools_of_another_server_are_calls_and_results() -> None:
    hit = {"type": "web_search_result", "title": "Sums", "url": "http://x", "encrypted_content": "gAAA"}
    found = turns(
        {"type": "text", "text": "I search."},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "7-3"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [hit]},
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "add", "input": {}, "server_name": "sums"},
        {
            "type": "mcp_tool_result",
            "tool_use_id": "mcptoolu_1",
            "is_error": False,
            "content": [{"type": "text", "text": "fo"}, {"type": "text", "text": "ur"}],
        },
        {"type": "text", "text": "It is 4."},
        role="assistant",
    )
    assert [turn["role"] for turn in found[1:-1]] == ["assistant", "tool", "assistant", "tool", "assistant"]
    assert found[1]["tool_calls"][0]["function"] == {"name": "web_search", "arguments": {"query": "7-3"}}
    assert found[2]["name"] == "web_search"
    assert json.loads(found[2]["content"]) == [
        {"type": "web_search_result", "title": "Sums", "url": "http://x"}
    ]
    assert (found[1]["content"], found[4]["content"], found[5]["content"]) == (
        "I search.",
        "four",
        "It is 4.",
    )


def test_thinking_without_a_signature_is_shown() -> None:
    for block in ({"signature": ""}, {"signature": None}, {}):
        thinking = {"type": "thinking", "thinking": "hm"} | block
        assert turns(thinking, {"type": "text", "text": "4"}, role="assistant")[1] == {
            "role": "assistant",
            "content": "4",
            "reasoning_content": "hm",
        }


async def test_sdk_runs_a_loop_of_tool_calls(sdk: Any, tool_model: Model) -> None:
    answer = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    client = await sdk(model=tool_model, answer=answer, thinking_tokens=5, window_tokens=4096)
    messages = list(MESSAGES)
    message: Any = None
    for _ in range(3):
        message = await client.messages.create(
            model="tiny",
            max_tokens=500,
            messages=messages,
            tools=[TOOL],
            thinking={"type": "enabled", "budget_tokens": 20},
        )
        assert message.stop_reason == "tool_use"
        call = message.content[-1]
        messages += [
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [RESULT | {"tool_use_id": call.id}]},
        ]
    assert message.usage.input_tokens > 100
