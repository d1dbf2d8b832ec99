"""Input of the Messages API: rendering, tools, and refusals in Anthropic's error bodies."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import pytest
from anytime_server.api.anthropic.schema import MessagesRequest, Prompt
from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import InvalidRequest

from .test_messages import BODY, CALL, ENABLED, MESSAGES, TOOL, create

JSON = {"content-type": "application/json"}
IMAGE = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/x.png"}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
FETCHED: dict[str, Any] = {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_1", "content": "seven"}
USE: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "4"}
FORGED = {"type": "thinking", "thinking": "x", "signature": "forged"}
SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [*MESSAGES, {"role": "assistant", "content": list(blocks)}]}


def user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def searched(*blocks: dict[str, Any]) -> dict[str, Any]:
    """An answer in the middle of a conversation."""
    turn = {"role": "assistant", "content": list(blocks)}
    return {"messages": [*MESSAGES, turn, *MESSAGES]}


BAD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("max_tokens", {"max_tokens": None}),
    ("max_tokens", {"max_tokens": 0}),
    ("messages", {"messages": []}),
    ("messages.0.role", {"messages": [{"role": "tool", "content": "x"}]}),
    ("messages.0.content", {"messages": [{"role": "user", "content": 7}]}),
    ("messages.0.content", {"messages": [{"role": "user", "content": "7\ud800"}]}),
    ("messages.0.content", user()),
    ("messages.0.content", user({"type": "text", "text": " "})),
    ("messages.0.content.0", user("7")),
    ("messages.0.content.0", user(IMAGE)),
    ("messages.0.content.0.source", user({"type": "document"})),
    ("messages.0.content.0.source", user({"type": "document", "source": PDF})),
    ("messages.0.content.0", user({"type": "container_upload", "file_id": "f"})),
    ("messages.0.content.0", user({"type": "tool_addition", "tool": {"definition": TOOL}})),
    ("messages.1.content.0.content", assistant(FETCHED | {"content": {"source": PDF}})),
    ("messages.1.content.0.tool_use_id", searched(FETCHED)),
    ("thread", {"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
    ("compaction", {"compaction": {"type": "summary"}}),
    ("messages.0.content.0", user({"type": ["text"]})),
    ("messages.0.content.0", user(USE)),
    ("messages.0.content.1.text", user({"type": "text", "text": "7"}, {"type": "text"})),
    ("messages.0.content.0.tool_use_id", user(RESULT)),
    ("messages.0.content.0.content.0", user(RESULT | {"content": [IMAGE]})),
    (
        "messages.1.content.0.signature",
        assistant(FORGED),
    ),
    (
        "messages.0",
        {"messages": assistant(FORGED)["messages"][1:]},
    ),
    (
        "anytime.continuation",
        assistant(FORGED) | {"anytime": {"continuation": "b"}},
    ),
    ("messages.1.content.0.input", assistant(USE | {"input": {"a": "\ud800"}})),
    ("anytime.continuation", {"anytime": {"continuation": "b"}}),
    ("system.0", {"system": [IMAGE]}),
    ("system", {"system": 3}),
    ("thinking.type", {"thinking": {"type": "between_tools"}}),
    ("thinking.budget_tokens", {"thinking": {"type": "enabled", "budget_tokens": 0}}),
    ("thinking.budget_tokens", {"thinking": {"type": "enabled", "budget_tokens": 100}}),
    ("thinking", {"thinking": {"type": "disabled", "budget_tokens": 10}}),
    ("thinking.display", {"thinking": {"type": "adaptive", "display": "hidden"}}),
    ("anytime.budget", {"thinking": ENABLED, "anytime": {"budget": 21}}),
    ("anytime.budget", {"thinking": {"type": "disabled"}, "anytime": {"budget": 21}}),
    ("anytime.budget", {"anytime": {"budget": 1000}}),
    ("output_config.effort", {"output_config": {"effort": "heroic"}, "thinking": {"type": "adaptive"}}),
    ("output_config.format.type", {"output_config": {"format": {"type": "json_object", "schema": {}}}}),
    ("output_config.format.schema", {"output_config": {"format": {"type": "json_schema"}}}),
    (
        "output_format",
        {"output_config": {"format": SCHEMA}, "output_format": SCHEMA | {"schema": {"type": "array"}}},
    ),
    ("temperature", {"temperature": 1.5}),
    ("top_p", {"top_p": -1}),
    ("top_k", {"top_k": -2}),
    ("logit_bias", {"logit_bias": {"999": 1}}),
    ("stop_sequences.0", {"stop_sequences": [""]}),
    ("stop_sequences", {"stop_sequences": ["x"] * 100}),
    ("tools.0.name", {"tools": [{"type": "bash_20250124"}]}),
    ("tools.0", {"tools": ["bash"]}),
    ("tools.0.name", {"tools": [TOOL | {"name": "a b"}]}),
    ("tools.0.input_schema", {"tools": [{"name": "add"}]}),
    ("tools.0.input_schema", {"tools": [TOOL | {"input_schema": {"a": "\ud800"}}]}),
    ("tools", {"tools": [TOOL] * 1025}),
    ("tools", {"tools": [TOOL]}),  # this model's template takes no tools
    ("tool_choice", {"tool_choice": {"type": "any"}}),
    ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}),
    ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "tool"}}),
]


async def test_bad_requests_are_400_and_name_the_field(served: Any) -> None:
    server = await served()
    for field, fields in BAD_FIELDS:
        body = {name: value for name, value in (BODY | fields).items() if value is not None}
        content = json.dumps(body)  # in ASCII, so that it can contain lone surrogates
        response = await server.http.post("/v1/messages", content=content, headers=JSON)
        assert response.status_code == 400, (fields, response.text)
        error_body = response.json()
        assert set(error_body) == {"type", "error", "request_id"}
        assert (error_body["type"], error_body["error"]["type"]) == ("error", "invalid_request_error")
        assert field in error_body["error"]["message"].replace(":", "").split(), (fields, error_body)
        assert error_body["request_id"] == response.headers["request-id"]
    assert (await server.http.post("/v1/messages", json=BODY)).status_code == 200


@pytest.mark.parametrize(("name", "limit"), [("stop_sequences", 16), ("tools", 1024)])
def test_lists_have_limits_of_their_own(name: str, limit: int) -> None:
    items, null = MessagesRequest.model_json_schema()["properties"][name]["anyOf"]
    assert (items["maxItems"], null) == (limit, {"type": "null"})


async def test_schema_error_names_the_schema_field(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(engine: ScriptedEngine, constraint: Constraint) -> Enforced:
        raise InvalidRequest("the JSON schema cannot be enforced", field="answer.response_format")

    monkeypatch.setattr(ScriptedEngine, "enforced", refuse)
    server = await served()
    response = await server.http.post("/v1/messages", json=BODY | {"output_config": {"format": SCHEMA}})
    message = "output_config.format.schema: the JSON schema cannot be enforced"
    assert (response.status_code, response.json()["error"]["message"]) == (400, message)


async def test_errors_have_the_classes_of_the_sdk(sdk: Any) -> None:
    client = await sdk()
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await create(client, model="gpt-0")
    assert unknown.value.type == "not_found_error"
    assert unknown.value.request_id
    with pytest.raises(anthropic.BadRequestError):
        await create(client, stream=True, anytime={"budget": 1000})
    with pytest.raises(anthropic.APIStatusError) as large:
        await create(client, messages=[{"role": "user", "content": "7" * 2_000_000}])
    assert large.value.status_code == 413
    assert "request_too_large" in str(large.value.body)
    assert (await client.messages.create(**BODY)).content[0].text == "42"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null"])
async def test_bodies_that_are_not_json_objects_are_refused(served: Any, body: bytes) -> None:
    server = await served()
    response = await server.http.post("/v1/messages", content=body, headers=JSON)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "body" in response.json()["error"]["message"]


async def test_request_during_loading_gets_503(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def load_forever(engine: ScriptedEngine) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ScriptedEngine, "start", load_forever)
    server = await served(ready=False)
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        body = {"model": "tiny", "messages": MESSAGES} | (
            {} if path.endswith("tokens") else {"max_tokens": 9}
        )
        response = await server.http.post(path, json=body)
        assert (response.status_code, response.json()["error"]["type"]) == (503, "overloaded_error")


async def test_failure_within_a_stream_raises_in_the_client(sdk: Any) -> None:
    client = await sdk(never_end=True, die_after_tokens=5)
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        async with client.messages.stream(**BODY, thinking=ENABLED) as stream:
            await stream.get_final_message()


async def test_cancelled_message_is_not_retried(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.005)
    body = BODY | {"max_tokens": 500, "thinking": {"type": "adaptive"}}
    whole = asyncio.create_task(server.http.post("/v1/messages", json=body))
    while not server.scheduler.engine.load().num_requests:
        await asyncio.sleep(0.001)
    [session] = server.scheduler.active
    session_id = session.request.id
    await server.http.delete(f"/v1/anytime/{session_id}")
    response = await whole
    assert (response.status_code, response.headers["x-should-retry"]) == (409, "false")


async def test_fields_without_effect_are_accepted(sdk: Any) -> None:
    client = await sdk()
    cached: Any = {"type": "ephemeral"}
    message = await create(
        client,
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "7-3", "cache_control": cached}]},
        ],
        system=[{"type": "text", "text": "be brief", "cache_control": cached}],
        cache_control=cached,
        metadata={"user_id": "me"},
        service_tier="auto",
        tools=[],
        tool_choice={"type": "auto"},
        stop_sequences=[],
        temperature=1.0,
        top_p=0.9,
    )
    assert message.content[0].text == "42"


def turns(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return Prompt.model_validate({"model": "tiny", "messages": messages} | fields).turns()


def test_messages_are_translated_for_chat_templates() -> None:
    thinking = {"type": "thinking", "thinking": "7-3=4", "signature": "of another server"}
    redacted = {"type": "redacted_thinking", "data": "x"}
    text = {"type": "text", "text": "Adding."}
    assert turns(
        {"role": "user", "content": [{"type": "text", "text": "7"}, {"type": "text", "text": "-3"}]},
        {"role": "assistant", "content": [thinking, redacted, text, USE, USE | {"id": "toolu_2"}]},
        {
            "role": "user",
            "content": [
                RESULT,
                RESULT | {"tool_use_id": "toolu_2", "is_error": True, "content": [text]},
                {"type": "text", "text": "and?"},
            ],
        },
        system="be brief",
    ) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "7-3"},
        {
            "role": "assistant",
            "content": "Adding.",
            "reasoning_content": "7-3=4",
            "tool_calls": [
                {"id": id_, "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
                for id_ in ("toolu_1", "toolu_2")
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "name": "add", "content": "4"},
        {"role": "tool", "tool_call_id": "toolu_2", "name": "add", "content": "Error: Adding."},
        {"role": "user", "content": "and?"},
    ]


async def test_message_can_be_sent_back_unchanged(sdk: Any) -> None:
    client = await sdk()
    first = await create(client, thinking=ENABLED)
    for content in (first.content, [block.to_dict() for block in first.content], first.to_param()["content"]):
        messages = [*MESSAGES, {"role": "assistant", "content": content}, {"role": "user", "content": "8-3"}]
        assert (await create(client, messages=messages)).content[0].text == "42"


async def test_count_tokens_equals_the_usage(sdk: Any) -> None:
    client = await sdk()
    system = [{"type": "text", "text": "be brief"}]
    for fields in ({}, {"system": system}):
        count = await client.messages.count_tokens(model="tiny", messages=MESSAGES, **fields)
        assert count.input_tokens == (await create(client, **fields)).usage.input_tokens
    assert (await client.messages.count_tokens(model="tiny", messages=MESSAGES)).input_tokens == 7
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.count_tokens(model="gpt-0", messages=MESSAGES)
    with pytest.raises(anthropic.BadRequestError, match="tools"):
        await client.messages.count_tokens(model="tiny", messages=MESSAGES, tools=[TOOL])


async def test_model_calls_tools(sdk: Any, tool_model: Any) -> None:
    client = await sdk(model=tool_model, answer=f"I add.{CALL}\n{CALL}")
    fields: Any = BODY | {"max_tokens": 300, "thinking": ENABLED, "tools": [TOOL]}
    whole = await client.messages.create(**fields)
    async with client.messages.stream(**fields) as stream:
        streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
        _, text, *calls = message.content
        assert text.text == "I add."
        assert [(call.name, call.input) for call in calls] == [("add", {"a": 1})] * 2
        assert len({call.id for call in calls}) == 2
        assert calls[0].id.startswith("toolu_")
        assert message.stop_reason == "tool_use"
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    single = await client.messages.create(**fields, tool_choice=choice)
    assert [block.type for block in single.content] == ["thinking", "text", "tool_use"]
    async with client.messages.stream(**fields, tool_choice=choice) as stream:
        assert len((await stream.get_final_message()).content) == 3

    turn = {"role": "assistant", "content": whole.content}
    ids = [block.id for block in whole.content if block.type == "tool_use"]
    results = {"role": "user", "content": [RESULT | {"tool_use_id": call_id} for call_id in ids]}
    again = await client.messages.create(**(fields | {"messages": [*MESSAGES, turn, results]}))
    assert again.usage.input_tokens > whole.usage.input_tokens + 20


async def test_tool_choice_none_hides_the_tools_from_the_model(sdk: Any, tool_model: Any) -> None:
    client = await sdk(model=tool_model, answer=CALL)
    tools: Any = {"tools": [TOOL]}
    with_tools = await client.messages.create(**BODY, **tools)
    assert [block.type for block in with_tools.content] == ["tool_use"]
    async with client.messages.stream(**BODY, **tools) as stream:
        assert [block.type for block in (await stream.get_final_message()).content] == ["tool_use"]
    without_tools = await client.messages.create(**BODY, **tools, tool_choice={"type": "none"})
    assert (without_tools.stop_reason, without_tools.content[0].text) == ("end_turn", CALL)
    assert without_tools.usage.input_tokens == 7 < with_tools.usage.input_tokens
    counted = await client.messages.count_tokens(model="tiny", messages=MESSAGES, **tools)
    assert counted.input_tokens == with_tools.usage.input_tokens


async def test_truncated_call_is_text(sdk: Any, tool_model: Any) -> None:
    client = await sdk(model=tool_model, answer=CALL)
    async with client.messages.stream(**(BODY | {"max_tokens": 20, "tools": [TOOL]})) as stream:
        message = await stream.get_final_message()
    assert message.stop_reason == "max_tokens"
    assert message.content[0].text == CALL[:30]
