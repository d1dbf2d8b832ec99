"""Responses in the form in which clients send them, each seen with the version in its name.

Only the form is theirs. A new form of a client is a new entry.
"""

from __future__ import annotations

from typing import Any

from .sent import ANSWER, ARGUMENTS, CLOSED, MORE, USER, Sent


def flat(**more: Any) -> dict[str, Any]:
    """A tool of responses."""
    return {"type": "function", "name": "add", "description": "Add.", "parameters": CLOSED} | more


REASONING: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "7+3=10"}],
}
CALLED: dict[str, Any] = {"type": "function_call", "name": "add", "arguments": ARGUMENTS, "call_id": "c1"}
RETURNED: dict[str, Any] = {"type": "function_call_output", "call_id": "c1", "output": "10"}

RESPONSES: list[Sent] = [
    Sent(
        "LangChain openai 1.7 responses",
        "responses",
        {
            "input": [
                USER | {"type": "message"},
                REASONING | {"status": "completed"},
                CALLED | {"id": "fc_1", "status": "completed"},
                RETURNED,
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "10", "annotations": []}],
                },
                MORE | {"type": "message"},
            ],
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"},
            "store": False,
            "stream": False,
            "tools": [flat()],
        },
    ),
    Sent(
        "Pydantic AI 2.38 responses",
        "responses",
        {
            "input": [USER, REASONING | {"encrypted_content": None}, CALLED, RETURNED],
            "stream": False,
            "tool_choice": "auto",
            "tools": [flat(description=None, strict=True)],
        },
    ),
    Sent(
        "OpenAI Agents SDK 0.24 responses",
        "responses",
        {
            "input": [
                USER,
                REASONING | {"status": "completed"},
                CALLED | {"id": "fc_1", "status": "completed"},
                RETURNED,
            ],
            "include": [],
            "instructions": "Be brief.",
            "stream": True,
            "tools": [flat(strict=True)],
        },
    ),
    Sent(
        "Haystack 3.4 responses",
        "responses",
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "7+3"}]},
                REASONING | {"status": "completed"},
                CALLED | {"id": "fc_1"},
                RETURNED | {"output": [{"type": "input_text", "text": "10"}]},
            ],
            "stream": False,
            "tools": [flat(strict=False)],
        },
    ),
    Sent(
        "DSPy 3.4 responses",
        "responses",
        {
            "input": [
                {"role": "system", "content": [{"type": "input_text", "text": "Your fields are: answer"}]},
                {"role": "user", "content": [{"type": "input_text", "text": "7+3"}]},
            ]
        },
    ),
    Sent(
        "Pydantic AI 2.38 NativeOutput",
        "responses",
        {
            "input": [USER],
            "text": {"format": {"type": "json_schema", "name": "Answer", "schema": ANSWER, "strict": True}},
        },
        wants_json=True,
    ),
]
