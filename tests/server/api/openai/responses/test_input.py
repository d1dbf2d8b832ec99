"""Input of the Responses API: history, resumed thinking, tools, and refusals."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.schema.messages import Arguments
from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import InvalidRequest
from anytime_server.text.model import Model
from anytime_server.types import RequestContext
from pydantic import BaseModel

from .test_responses import BODY, create, event_types, streamed, whole, without_ids

USER: dict[str, Any] = {"role": "user", "content": "7-3"}
THINKING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "hm"}],
}
ANSWER = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "4", "annotations": []}],
}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "2"}
ENCRYPTED = {"include": ["reasoning.encrypted_content"]}


def turns(items: Any, **fields: Any) -> list[dict[str, Any]]:
    request = ResponsesRequest.model_validate({"model": "tiny", "input": items} | fields)
    generate = request.to_generate_request(RequestContext())
    return list(generate.messages)


def test_string_input_is_a_user_message_after_the_instructions() -> None:
    assert turns("7-3", instructions="Be brief.") == [{"role": "system", "content": "Be brief."}, USER]


def test_items_become_turns() -> None:
    parts = [{"type": "input_text", "text": "2"}, {"type": "input_text", "text": "+2"}]
    developer = {"role": "developer", "content": "Be brief."}
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "in short"}]}
    second = CALL | {"call_id": "c2", "arguments": "none"}
    items = [
        developer,
        USER,
        THINKING,
        ANSWER,
        {"role": "user", "content": parts},
        summary,
        CALL,
        second,
        OUTPUT,
    ]
    found = turns([*items, {"role": "assistant", "content": "done"}, THINKING, USER])
    assert found == [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "reasoning_content": "hm", "content": "4"},
        {"role": "user", "content": "2+2"},
        {
            "role": "assistant",
            "reasoning_content": "in short",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}},
                {"id": "c2", "type": "function", "function": {"name": "add", "arguments": "none"}},
            ],
        },
        {"role": "tool", "content": "2", "tool_call_id": "c1", "name": "add"},
        {"role": "assistant", "content": "done"},
        USER,
    ]
    assert isinstance(found[4]["tool_calls"][0]["function"]["arguments"], Arguments)


def test_arguments_that_cannot_be_serialised_stay_text() -> None:
    for text in ('{"a": "\\ud800"}', '{"a":' * 960 + "1" + "}" * 960):
        assert turns([USER, CALL | {"arguments": text}, OUTPUT])[1]["tool_calls"][0]["function"] == {
            "name": "add",
            "arguments": text,
        }


async def test_response_can_be_sent_back(sdk: Any) -> None:
    client = await sdk(thinking_tokens=9)
    first = await create(client)
    second = await create(client, input=[USER, *first.output, {"role": "user", "content": "2+2"}])
    assert second.output_text == "42"
    assert second.usage.input_tokens > first.usage.input_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_encrypted_thinking_is_resumed(served: Any, stream: bool) -> None:
    server = await served(never_end=True)
    fields = ENCRYPTED | {"thinking_token_budget": 20, "instructions": "Be brief."}
    if stream:
        first = (await streamed(server, **fields))[-1]["response"]
    else:
        first = await whole(server, **fields)
    thinking = first["output"][0]
    assert thinking["encrypted_content"] == first["anytime"]["continuation"]
    second = await whole(server, **fields | {"input": [USER, thinking], "thinking_token_budget": 5})
    assert second["usage"]["input_tokens"] == first["usage"]["input_tokens"] + 20
    assert second["anytime"]["stop"]["thinking_tokens"] == 5
    third = await whole(server, **fields | {"input": [USER, second["output"][0]], "thinking_token_budget": 0})
    assert third["usage"]["input_tokens"] == first["usage"]["input_tokens"] + 25
    assert [item["type"] for item in third["output"]] == ["message"]
    anytime = {"anytime": {"continuation": first["anytime"]["continuation"]}}
    assert without_ids(await whole(server, **fields | anytime)) == without_ids(
        await whole(server, **fields | {"input": [USER, thinking]})
    )
    refused = await server.http.post(
        "/v1/responses", json=BODY | fields | anytime | {"input": [USER, thinking]}
    )
    assert refused.json()["error"]["param"] == "anytime.continuation"


async def test_thinking_that_cannot_be_resumed_is_refused(served: Any) -> None:
    server = await served(thinking_tokens=9)
    ended = (await whole(server, **ENCRYPTED))["output"][0]
    for items, field, message in [
        ([USER, ended], "input.1.encrypted_content", "had ended this thinking by itself"),
        ([{"role": "user", "content": "2+2"}, ended], "input.1.encrypted_content", "another conversation"),
        ([USER, ended | {"encrypted_content": "gAAAA"}], "input.1.encrypted_content", "cannot be used"),
        ([ended], "input.0", "must be before it"),
        ([USER, THINKING, ended], "input.1", "only one"),
    ]:
        error = (await server.http.post("/v1/responses", json=BODY | {"input": items})).json()["error"]
        assert (error["param"], error["type"]) == (field, "invalid_request_error")
        assert message in error["message"]


TOOL: dict[str, Any] = {
    "type": "function",
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": True,
}
CALL_TEXT = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
WITH_TOOL = {"tools": [TOOL], "max_output_tokens": 240, "thinking_token_budget": 3}


@pytest.mark.parametrize(
    ("answer", "fields", "text", "num_calls"),
    [
        (CALL_TEXT, {}, None, 1),
        (f"So: {CALL_TEXT}\n{CALL_TEXT}", {}, "So: ", 2),
        (CALL_TEXT * 2, {"parallel_tool_calls": False}, None, 1),
        ("Broken <tool_call> x", {}, "Broken <tool_call> x", 0),
        (CALL_TEXT, {"tool_choice": "none"}, CALL_TEXT, 0),
    ],
)
async def test_calls_in_an_answer_are_reported(
    served: Any, tool_model: Model, answer: str, fields: Any, text: str | None, num_calls: int
) -> None:
    server = await served(model=tool_model, answer=answer, never_end=True)
    response = await whole(server, **WITH_TOOL | fields)
    _, *items = response["output"]
    messages = [item["content"][0]["text"] for item in items if item["type"] == "message"]
    calls = [item for item in items if item["type"] == "function_call"]
    assert messages == ([] if text is None else [text])
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [
        ("add", {"a": 1})
    ] * num_calls
    ids = [call["call_id"] for call in calls]
    assert len(set(ids)) == len({call["id"] for call in calls}) == num_calls
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in ids), "not ids that Mistral accepts"
    events = await streamed(server, **WITH_TOOL | fields)
    assert without_ids(events[-1]["response"]) == without_ids(response)
    if num_calls:
        arguments = ["function_call_arguments.delta", "function_call_arguments.done"]
        assert event_types(events)[-5:] == ["output_item.added", *arguments, "output_item.done", "completed"]


async def test_sdk_parses_calls_and_sends_them_back(sdk: Any, tool_model: Model) -> None:
    client = await sdk(model=tool_model, answer=f"So: {CALL_TEXT}", never_end=True)

    class add(BaseModel):
        a: int

    fields: Any = BODY | {"max_output_tokens": 200, "reasoning": {"effort": "low"}}
    fields["tools"] = [openai.pydantic_function_tool(add)]
    parsed = await client.responses.parse(**fields)
    async with client.responses.stream(**fields) as stream:
        streamed = await stream.get_final_response()
    for response in (parsed, streamed):
        *_, message, call = response.output
        assert (message.content[0].text, call.parsed_arguments) == ("So: ", add(a=1))
        result = {"type": "function_call_output", "call_id": call.call_id, "output": ""}
        for sent_back in (response.output, [item.model_dump() for item in response.output]):
            again = await client.responses.parse(**fields | {"input": [USER, *sent_back, result]})
            assert again.status == "completed"
            assert again.usage.input_tokens > response.usage.input_tokens


IMAGE = {"type": "input_image", "image_url": "data:,"}
TEXT = {"type": "input_text", "text": "7-3"}
FILE = {"type": "input_file", "file_data": "data:text/plain;base64,Nw=="}
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("input", {"input": ""}),
    ("input", {"input": " \n"}),
    ("input", {"input": []}),
    ("input", {"input": 7}),
    ("input", {"input": "7" * 600}),
    ("input.0", {"input": ["7-3"]}),
    ("input.0.content", {"input": [{"role": "user", "content": " "}]}),
    ("input.0.content", {"input": [{"role": "user"}]}),
    ("input.0.role", {"input": [{"role": "tool", "content": "x"}]}),
    ("input.0", {"input": [ANSWER]}),
    ("input.0", {"input": [THINKING]}),
    ("input.0.content.0", {"input": [{"role": "user", "content": [IMAGE]}]}),
    ("input.0.content.1", {"input": [{"role": "user", "content": [TEXT, FILE]}]}),
    ("input.2.output.0", {"input": [USER, CALL, OUTPUT | {"output": [IMAGE]}]}),
    ("input.1", {"input": [USER, {"type": "compaction", "encrypted_content": "gAAAA"}]}),
    ("input.1", {"input": [USER, {"type": "image_generation_call", "id": "ig_1", "result": "iVBO"}]}),
    ("input.1", {"input": [USER, {"type": "mcp_call", "id": "mcp_1", "arguments": "{}"}]}),
    ("input.1", {"input": [USER, {"type": "shell_call", "action": {"commands": ["ls"]}}]}),
    ("input.1", {"input": [USER, CALL]}),
    ("input.1.call_id", {"input": [USER, OUTPUT]}),
    ("input.2.output", {"input": [USER, CALL, OUTPUT | {"output": 2}]}),
    ("model", {"model": "gpt-0"}),
    ("previous_response_id", {"previous_response_id": "resp_1"}),
    ("conversation", {"conversation": "conv_1"}),
    ("prompt", {"prompt": {"id": "p"}}),
    ("max_output_tokens", {"max_output_tokens": 0}),
    ("thinking_token_budget", {"thinking_token_budget": 10**6}),
    ("reasoning.effort", {"reasoning": {"effort": "some"}}),
    ("thinking_token_budget", {"anytime": {"budget": 4}, "thinking_token_budget": 3}),
    ("anytime.continuation", {"anytime": {"continuation": "x"}}),
    ("temperature", {"temperature": -1}),
    ("top_logprobs", {"top_logprobs": 21, "include": ["message.output_text.logprobs"]}),
    ("text.format.type", {"text": {"format": {"type": "xml"}}}),
    ("text.format.schema", {"text": {"format": {"type": "json_schema", "name": "n"}}}),
    ("text.format.name", {"text": {"format": {"type": "text", "name": "n"}}}),
    ("tools", {"tools": [TOOL]}),
    ("tools.0.tools", {"tools": [{"type": "namespace", "name": "n"}]}),
    ("tools.0", {"tools": ["web_search"]}),
    ("tools.0.name", {"tools": [TOOL | {"name": ""}]}),
    ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}),
    ("metadata.a", {"metadata": {"a": 1}}),
    ("stream", {"stream": "yes"}),
]  # fmt: skip


async def test_invalid_requests_are_refused_with_their_parameter(served: Any) -> None:
    server = await served()
    for param, fields in BAD:
        for stream in (False, True):
            reply = await server.http.post("/v1/responses", json=BODY | {"stream": stream} | fields)
            assert reply.status_code == (404 if param == "model" else 400), (fields, reply.text)
            error = reply.json()["error"]
            assert (error["param"], error["type"]) == (param, "invalid_request_error"), (fields, error)
            assert error["message"]
    assert server.scheduler.engine.load().num_requests == 0


async def test_deep_json_and_lone_surrogates_are_refused(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model)
    deep = '{"a":' * 920 + "1" + "}" * 920  # the parser still reads it
    for text in (
        json.dumps(BODY | {"input": "\ud800"}),
        json.dumps(BODY | {"input": [USER | {"content": "\ud800"}]}),
        json.dumps(BODY | {"metadata": {"a": "\ud800"}}),
        json.dumps(BODY | {"tools": [TOOL | {"description": "\ud800"}]}),
        json.dumps(BODY | {"tools": [{"type": "web_search", "x": "\ud800"}]}),
        json.dumps(BODY | {"tools": [{"type": "web_search", "x": "DEEP"}]}).replace('"DEEP"', deep),
        json.dumps(BODY | {"input": [USER | {"x": "\ud800"}]}),
        json.dumps(BODY | {"input": [USER | {"x": "DEEP"}]}).replace('"DEEP"', deep),
        json.dumps(BODY | {"text": {"format": SCHEMA | {"schema": {"\ud800": 1}}}}),
        json.dumps(BODY | {"text": {"format": SCHEMA | {"schema": "DEEP"}}}).replace('"DEEP"', deep),
        json.dumps(BODY | {"tools": [TOOL | {"parameters": "DEEP"}]}).replace('"DEEP"', deep),
        "[]",
        "{",
    ):
        reply = await server.http.post(
            "/v1/responses", content=text, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code == 400, (text[:80], reply.text)
        assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("core_field", "own_field"),
    [
        ("messages", "input"),
        ("answer.max_tokens", "max_output_tokens"),
        ("continuation", "anytime.continuation"),
        ("model", "model"),
        ("answer.constraint", "text.format.schema"),
        (None, None),
    ],
)
def test_core_field_names_are_mapped_to_own_fields(core_field: str | None, own_field: str | None) -> None:
    request = ResponsesRequest.model_validate(BODY | {"text": {"format": SCHEMA}})
    generate = request.to_generate_request(RequestContext())
    assert generate.name_of(core_field) == own_field


async def test_schema_error_names_the_schema_field(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(engine: ScriptedEngine, constraint: Constraint) -> Enforced:
        raise InvalidRequest("the JSON schema cannot be enforced")

    monkeypatch.setattr(ScriptedEngine, "enforced", refuse)
    server = await served()
    reply = await server.http.post("/v1/responses", json=BODY | {"text": {"format": SCHEMA}})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "text.format.schema")


async def test_endpoints_are_in_the_openapi_document(served: Any) -> None:
    server = await served()
    paths = (await server.http.get("/openapi.json")).json()["paths"]
    assert set(paths["/v1/responses"]) == {"post"}
    assert set(paths["/v1/responses/{response_id}"]) == {"get", "delete"}
    for path in ("{response_id}/cancel", "{response_id}/input_items", "input_tokens", "compact"):
        assert f"/v1/responses/{path}" in paths


async def test_requests_before_the_model_is_loaded_get_503(served: Any) -> None:
    server = await served()
    server.scheduler.state = "loading"
    reply = await server.http.post("/v1/responses", json=BODY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "unavailable")
