"""`null` in a field that may be left out is its absence, in every dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anytime_server.api.anthropic.schema import MessagesRequest
from anytime_server.api.native.schema import AnytimeRequest
from anytime_server.api.openai.chat.schema import ChatRequest
from anytime_server.api.openai.completions.schema import CompletionRequest
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.schema.fields import Fields

USER: dict[str, Any] = {"role": "user", "content": "7-3"}
CALL = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REQUESTS: dict[str, tuple[type[Fields], dict[str, Any]]] = {
    "/v1/anytime": (AnytimeRequest, {"messages": [USER]}),
    "/v1/chat/completions": (ChatRequest, {"model": "tiny", "messages": [USER]}),
    "/v1/completions": (CompletionRequest, {"prompt": "7-3"}),
    "/v1/messages": (MessagesRequest, {"model": "tiny", "messages": [USER], "max_tokens": 60}),
    "/v1/responses": (ResponsesRequest, {"model": "tiny", "input": "7-3"}),
}


def optional(model: type[Fields]) -> Iterator[str]:
    return (field.alias or name for name, field in model.model_fields.items() if not field.is_required())


@pytest.mark.parametrize("path", REQUESTS)
async def test_null_in_every_optional_field_is_its_absence(served: Any, path: str) -> None:
    server = await served(thinking_tokens=5)
    model, body = REQUESTS[path]
    nulls = dict.fromkeys(optional(model))
    assert "stream" in nulls
    answers = [(await server.http.post(path, json=sent)) for sent in (body, nulls | body)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[1].text
    assert len({answer.headers["content-type"] for answer in answers}) == 1


async def test_null_is_the_absence_of_nested_fields(served: Any) -> None:
    server = await served(thinking_tokens=5)
    nulls = {"name": None, "tool_calls": None, "tool_call_id": None, "reasoning_content": None}
    messages = [
        USER | nulls,
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "call00001", "content": None},
    ]
    body = {"model": "tiny", "messages": messages, "stream": True, "stream_options": {"include_usage": None}}
    response = await server.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    response = await server.http.post(
        "/v1/messages",
        json={
            "model": "tiny",
            "max_tokens": 60,
            "messages": [USER],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": None},
        },
    )
    assert response.status_code == 200, response.text


async def test_null_in_a_required_field_is_refused(served: Any) -> None:
    server = await served()
    response = await server.http.post("/v1/messages", json=REQUESTS["/v1/messages"][1] | {"max_tokens": None})
    assert response.status_code == 400
    assert "max_tokens" in response.text


async def test_document_says_that_optional_fields_may_be_null(served: Any) -> None:
    server = await served()
    schemas = (await server.http.get("/openapi.json")).json()["components"]["schemas"]
    assert {"type": "null"} in schemas["ChatRequest"]["properties"]["stream"]["anyOf"]
    assert schemas["MessagesRequest"]["properties"]["max_tokens"]["type"] == "integer"
