"""Clients' own bodies are answered, and only the fields that have no effect are reported."""

from __future__ import annotations

import json
from typing import Any

from anytime_server.text.model import Model

from .chat import CHAT, LOAD_TOOLS
from .messages import MESSAGES
from .responses import RESPONSES
from .sent import PATHS, Sent

WINDOW = 32_768
BODIES = [*CHAT, *RESPONSES, *MESSAGES]
CALL = '<tool_call>{"name": "add", "arguments": {"a": 7, "b": 3}}</tool_call>'


def chunks_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


async def reply_to(server: Any, sent: Sent, **more: Any) -> dict[str, Any]:
    """The whole response, or the parts of a stream that a whole one has, too."""
    response = await server.http.post(PATHS[sent.dialect], json=sent.body | {"model": "tiny"} | more)
    assert response.status_code == 200, (sent.client, response.text)
    if not response.headers["content-type"].startswith("text/event-stream"):
        return response.json()
    chunks = chunks_of(response.text)
    if sent.dialect == "responses":
        return chunks[-1]["response"]
    [anytime] = [chunk["anytime"] for chunk in chunks if "anytime" in chunk]
    if sent.dialect == "messages":
        text = "".join(chunk["delta"].get("text", "") for chunk in chunks if "delta" in chunk)
        return {"anytime": anytime, "content": [{"type": "text", "text": text}] if text else []}
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    content = "".join(delta["content"] or "" for delta in deltas)
    calls = [called for delta in deltas for called in delta.get("tool_calls", ())]
    return {"anytime": anytime, "choices": [{"message": {"content": content, "tool_calls": calls}}]}


def text_of(sent: Sent, reply: dict[str, Any]) -> str:
    if sent.dialect == "chat":
        return reply["choices"][0]["message"]["content"]
    if sent.dialect == "messages":
        return "".join(part["text"] for part in reply["content"] if part["type"] == "text")
    items = [item for item in reply["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in items for part in item["content"])


def num_calls(sent: Sent, reply: dict[str, Any]) -> int:
    if sent.dialect == "chat":
        return len(reply["choices"][0]["message"].get("tool_calls") or ())
    if sent.dialect == "messages":
        return sum(part["type"] == "tool_use" for part in reply["content"])
    return sum(item["type"] == "function_call" for item in reply["output"])


def ignored_of(reply: dict[str, Any]) -> list[str]:
    """Without `strict` of tools, which is a promise about calls, and tested with them."""
    return [field for field in reply["anytime"]["ignored"] if not field.endswith(".strict")]


async def test_bodies_of_clients_are_answered(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model, window_tokens=WINDOW, thinking_tokens=8)
    for sent in BODIES:
        if sent.wants_json:
            continue
        reply = await reply_to(server, sent)
        assert text_of(sent, reply).startswith("42"), (sent.client, reply)
        assert ignored_of(reply) == list(sent.ignored), sent.client


async def test_clients_get_calls_of_their_tools(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model, window_tokens=WINDOW, thinking_tokens=8, answer=CALL)
    asked = [sent for sent in BODIES if "tools" in sent.body]
    assert len(asked) > 10
    for sent in asked:
        reply = await reply_to(server, sent, stream=False)
        assert num_calls(sent, reply) == 1, (sent.client, reply)


async def test_clients_get_json(served: Any, tool_model: Model) -> None:
    answer = '{"answer": 4}'
    server = await served(model=tool_model, window_tokens=WINDOW, thinking_tokens=8, answer=answer)
    asked = [sent for sent in BODIES if sent.wants_json]
    assert len(asked) == 5
    for sent in asked:
        reply = await reply_to(server, sent)
        assert text_of(sent, reply) == answer, (sent.client, reply)
        assert ignored_of(reply) == list(sent.ignored), sent.client


async def test_load_tools_get_exactly_the_tokens_that_they_ask_for(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model, window_tokens=WINDOW, thinking_tokens=8)
    assert len(LOAD_TOOLS) == 4
    for sent in LOAD_TOOLS:
        response = await server.http.post(PATHS["chat"], json=sent.body)
        chunks = chunks_of(response.text)
        [last] = [chunk for chunk in chunks if chunk.get("anytime")]
        used = last["anytime"]["usage"]
        assert used["thinking_tokens"] == 8, sent.client
        assert used["thinking_tokens"] + used["answer_tokens"] == sent.body["max_completion_tokens"]
        if "stream_options" in sent.body:
            assert chunks[-1]["usage"]["completion_tokens"] == sent.body["max_completion_tokens"]
        first = chunks[0]["choices"][0]["delta"]
        assert first["role"] == "assistant"
        assert first["reasoning_content"], sent.client
