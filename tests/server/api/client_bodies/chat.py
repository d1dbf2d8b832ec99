"""Chat completions in the form in which clients send them, each seen with the version in its name.

Only the form is theirs. A new form of a client is a new entry.
"""

from __future__ import annotations

from typing import Any

from .sent import ANSWER, ARGUMENTS, CLOSED, MORE, PARTS, SCHEMA, USER, Sent

USAGE = {"include_usage": True}


def function(**more: Any) -> dict[str, Any]:
    """A tool of chat completions."""
    described = {"name": "add", "description": "Add two numbers.", "parameters": SCHEMA}
    return {"type": "function", "function": described | more}


def call(**more: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "add", "arguments": ARGUMENTS}} | more


def history(assistant: dict[str, Any], result: dict[str, Any], *rest: dict[str, Any]) -> list[dict[str, Any]]:
    """A chat in which the assistant has called a tool."""
    called = {"role": "assistant", "tool_calls": [call()]} | assistant
    return [USER, called, {"role": "tool", "tool_call_id": "c1", "content": "10"} | result, *rest]


def json_schema(**more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "Answer", "schema": ANSWER} | more}


LITELLM_TURN: dict[str, Any] = {
    "content": None,
    "function_call": None,
    "provider_specific_fields": {"refusal": None},
    "reasoning_content": "7+3=10",
    "thinking_blocks": [{"type": "thinking", "thinking": "7+3=10", "signature": "s"}],
    "tool_calls": [call(index=0)],
}
"""As `model_dump()` of LiteLLM's message gives it, for proxies that pass it on whole."""

CHAT: list[Sent] = [
    Sent("LiteLLM 1.110 openai/", "chat", {"messages": [USER], "reasoning_effort": "low"}),
    Sent("LiteLLM 1.110 stream", "chat", {"messages": [USER], "stream": True, "stream_options": USAGE}),
    Sent(
        "LiteLLM 1.110 two turns",
        "chat",
        {
            "messages": history(
                {"reasoning_content": "7+3=10"},
                {"name": "add"},
                {"content": "10", "role": "assistant", "reasoning_content": "done"},
                MORE,
            ),
            "tools": [function()],
        },
    ),
    Sent(
        "LiteLLM proxy",
        "chat",
        {"messages": history(LITELLM_TURN, {"name": "add"}), "tools": [function()], "stream": False},
    ),
    Sent(
        "LiteLLM 1.110 deepseek/",
        "chat",
        {"messages": [USER], "thinking": {"type": "enabled"}, "reasoning_effort": "low", "max_tokens": 4096},
    ),
    Sent(
        "LiteLLM 1.110 openrouter/",
        "chat",
        {
            "messages": [USER],
            "usage": {"include": True},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "max_tokens": 4096,
        },
    ),
    Sent(
        "LangChain openai 1.7",
        "chat",
        {
            "messages": history({"content": None}, {}, {"role": "assistant", "content": "10"}, MORE),
            "max_completion_tokens": 2000,
            "reasoning_effort": "low",
            "stream": True,
            "stream_options": USAGE,
            "tools": [function()],
        },
    ),
    Sent(
        "LlamaIndex openai-like 0.8",
        "chat",
        {
            "messages": history({"content": None}, {}),
            "parallel_tool_calls": False,
            "stream": False,
            "temperature": 0.1,
            "tool_choice": "auto",
            "tools": [function(strict=False)],
        },
    ),
    Sent(
        "Pydantic AI 2.38 chat",
        "chat",
        {
            "messages": history({"reasoning_content": "7+3", "content": None}, {}),
            "stream": False,
            "tool_choice": "auto",
            "tools": [function(description="", parameters=CLOSED, strict=True)],
        },
    ),
    Sent(
        "OpenAI Agents SDK 0.24 chat",
        "chat",
        {
            "messages": [
                {"content": "Be brief.", "role": "system"},
                *history({"content": None}, {}),
            ],
            "parallel_tool_calls": False,
            "tools": [function(parameters=CLOSED, strict=True)],
            "verbosity": "low",
        },
        ignored=("verbosity",),
    ),
    Sent(
        "smolagents 1.26 CodeAgent",
        "chat",
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "You solve tasks."}]},
                PARTS,
            ],
            "stop": ["Observation:", "Calling tools:", "</code>"],
        },
    ),
    Sent(
        "Haystack 3.4 chat",
        "chat",
        {"messages": history({}, {}), "n": 1, "tools": [function()], "stream": False},
    ),
    Sent(
        "aiperf 0.13",
        "chat",
        {
            "messages": [USER],
            "stream": True,
            "max_completion_tokens": 60,
            "ignore_eos": True,
            "min_tokens": 60,
            "stream_options": USAGE,
        },
    ),
    Sent(
        "guidellm 0.8",
        "chat",
        {
            "messages": [PARTS],
            "stream": True,
            "stream_options": USAGE | {"continuous_usage_stats": True},
            "max_completion_tokens": 60,
            "ignore_eos": True,
        },
    ),
    Sent(
        "vllm bench serve 0.32",
        "chat",
        {
            "messages": [PARTS],
            "max_completion_tokens": 60,
            "stream": True,
            "stream_options": USAGE,
            "ignore_eos": True,
        },
    ),
    Sent(
        "SGLang bench 0.5",
        "chat",
        {
            "messages": [USER],
            "max_completion_tokens": 60,
            "stream": True,
            "temperature": 0.0,
            "ignore_eos": True,
        },
    ),
    Sent(
        "LiteLLM 1.110 schema",
        "chat",
        {"messages": [USER], "response_format": json_schema(strict=True)},
        wants_json=True,
    ),
    Sent(
        "LangChain openai 1.7 json_mode",
        "chat",
        {"messages": [USER], "response_format": {"type": "json_object"}},
        wants_json=True,
    ),
    Sent(
        "Instructor 1.17 JSON_SCHEMA",
        "chat",
        {"messages": [USER], "response_format": json_schema()},
        wants_json=True,
    ),
]

LOAD_TOOLS = [sent for sent in CHAT if sent.body.get("ignore_eos")]
