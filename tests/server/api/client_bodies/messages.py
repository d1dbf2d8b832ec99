"""Messages in the form in which clients send them, each seen with the version in its name.

Only the form is theirs. A new form of a client is a new entry.
"""

from __future__ import annotations

from typing import Any

from .sent import ANSWER, MORE, PARTS, SCHEMA, USER, Sent


def tool(**more: Any) -> dict[str, Any]:
    """A tool of messages."""
    return {"name": "add", "description": "Add.", "input_schema": SCHEMA} | more


USED: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 7, "b": 3}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "10"}

MESSAGES: list[Sent] = [
    Sent(
        "LiteLLM 1.110 anthropic/",
        "messages",
        {
            "messages": [
                PARTS,
                {"role": "assistant", "content": [USED]},
                {"role": "user", "content": [RESULT]},
            ],
            "tools": [tool(type="custom")],
            "max_tokens": 128_000,
            "stream": True,
        },
        ignored=("max_tokens",),
    ),
    Sent(
        "LangChain anthropic 1.7",
        "messages",
        {
            "max_tokens": 4000,
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "7+3", "signature": "s"}, USED],
                },
                {"role": "user", "content": [RESULT | {"is_error": False}]},
                {"role": "assistant", "content": "10"},
                MORE,
            ],
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "tools": [tool()],
        },
    ),
    Sent(
        "Pydantic AI 2.38 anthropic",
        "messages",
        {
            "max_tokens": 4096,
            "messages": [
                PARTS,
                {"role": "assistant", "content": [USED]},
                {
                    "role": "user",
                    "content": [RESULT | {"content": [{"type": "text", "text": "10"}], "is_error": False}],
                },
            ],
            "stream": False,
            "tool_choice": {"type": "auto"},
            "tools": [tool(description="")],
        },
    ),
    Sent(
        "LlamaIndex anthropic 0.12",
        "messages",
        {
            "max_tokens": 2000,
            "messages": [PARTS],
            "stream": False,
            "system": "",
            "temperature": 1.0,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
            "tools": [tool()],
        },
    ),
    Sent(
        "LangChain anthropic 1.7 schema",
        "messages",
        {
            "max_tokens": 4000,
            "messages": [USER],
            "output_config": {"format": {"type": "json_schema", "schema": ANSWER}},
        },
        wants_json=True,
    ),
]
