"""Requests of agents to the Responses API: namespaces, custom and hosted tools, records, and summaries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.schema.ignored import report_ignored
from anytime_server.text.model import Model
from anytime_server.types import IgnoredFields, RequestContext

from .test_input import ANSWER, OUTPUT, THINKING, USER
from .test_responses import BODY, event_types, streamed, whole, without_ids

PATCH = "*** Begin Patch\n+7\n*** End Patch"
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": 'start: "7"'}
RUN: dict[str, Any] = {
    "type": "function",
    "name": "run_command",
    "description": "Runs a command.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]},
}
EDIT: dict[str, Any] = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": GRAMMAR,
}
TEAM: dict[str, Any] = {
    "type": "namespace",
    "name": "team",
    "description": "Other agents.",
    "tools": [RUN | {"name": "spawn"}, EDIT | {"name": "tell"}],
}
SEARCH: dict[str, Any] = {"type": "web_search", "external_web_access": True}
CODEX: dict[str, Any] = {
    "model": "tiny",
    "input": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "developer",
            "content": [{"type": "input_text", "text": "You write code."}],
        },
        {
            "type": "message",
            "id": "msg_2",
            "role": "developer",
            "content": [
                {"type": "input_text", "text": "<permissions>all</permissions>"},
                {"type": "input_text", "text": "<skills>none</skills>"},
            ],
        },
        {"type": "message", "id": "msg_3", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    ],
    "tools": [RUN, EDIT, TEAM, SEARCH],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0f3c",
    "client_metadata": {"session_id": "0f3c", "turn_id": "1"},
}
"""The fields that Codex 0.171 sends for a first turn."""


def call_text(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def generate(**fields: Any) -> Any:
    request = ResponsesRequest.model_validate({"model": "tiny", "input": [USER]} | fields)
    return request.to_generate_request(RequestContext())


def turns(*items: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return list(generate(input=list(items), **fields).messages)


async def test_first_turn_of_codex(served: Any, tool_model: Model) -> None:
    answer = call_text("run_command", cmd="ls")
    server = await served(model=tool_model, answer=answer, thinking_tokens=9, window_tokens=4096)
    events = await streamed(server, **CODEX)
    last = events[-1]["response"]
    assert [item["type"] for item in last["output"]] == ["reasoning", "function_call"]
    thinking, call = last["output"]
    assert (call["name"], json.loads(call["arguments"])) == ("run_command", {"cmd": "ls"})
    assert "namespace" not in call
    assert thinking["encrypted_content"]
    assert last["anytime"]["ignored"] == ["tools.1.format", "tools.2.tools.1.format", "tools.3"]

    result = {"type": "function_call_output", "id": "fco_1", "call_id": call["call_id"], "output": "a.py"}
    # Codex drops the thinking's content where it has any, and writes null for what it has not.
    sent_back = [thinking | {"content": None}, call, result]
    second = await streamed(server, **CODEX | {"input": [*CODEX["input"], *sent_back]})
    assert second[-1]["type"] == "response.completed"


def test_tools_become_functions() -> None:
    offered = [tool["function"] for tool in generate(tools=[RUN, EDIT, TEAM, SEARCH]).tools]
    assert [function["name"] for function in offered] == ["run_command", "apply_patch", "spawn", "tell"]
    assert offered[0] == {name: RUN[name] for name in ("name", "description", "parameters")}
    assert offered[1]["parameters"] == {
        "type": "object",
        "properties": {
            "input": {"type": "string", "description": 'Must match this lark grammar:\nstart: "7"'}
        },
        "required": ["input"],
    }
    assert offered[2]["description"] == "Other agents.\nRuns a command."


def test_names_of_a_namespace_are_written_out_where_another_tool_has_them() -> None:
    other = TEAM | {"name": "mcp__files", "tools": [RUN | {"name": "spawn"}, RUN]}
    offered = generate(tools=[RUN, TEAM, other]).tools
    assert [tool["function"]["name"] for tool in offered] == [
        "run_command",
        "team__spawn",
        "tell",
        "mcp__files__spawn",
        "mcp__files__run_command",
    ]


@pytest.mark.parametrize("tools", [[TEAM], [TEAM, TEAM | {"name": "other"}]])
async def test_call_within_a_namespace_comes_back_with_it(
    served: Any, tool_model: Model, tools: list[Any]
) -> None:
    shown = "spawn" if len(tools) == 1 else "team__spawn"
    server = await served(model=tool_model, answer=call_text(shown, cmd="x"), window_tokens=4096)
    fields: Any = {"tools": tools, "thinking_token_budget": 3}
    response = await whole(server, **fields)
    call = response["output"][-1]
    assert (call["namespace"], call["name"], call["id"][:3]) == ("team", "spawn", "fc_")
    history = turns(USER, call, OUTPUT | {"call_id": call["call_id"]}, tools=tools)
    assert history[1]["tool_calls"][0]["function"]["name"] == shown
    assert history[2]["name"] == shown


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"input": PATCH}, PATCH),
        ({"patch": PATCH}, json.dumps({"patch": PATCH})),
        ({"input": 7}, '{"input": 7}'),
    ],
)
async def test_call_of_a_custom_tool_has_its_input(
    served: Any, tool_model: Model, arguments: Any, text: str
) -> None:
    answer = call_text("apply_patch", **arguments)
    server = await served(model=tool_model, answer=answer, window_tokens=4096)
    fields: Any = {"tools": [EDIT], "thinking_token_budget": 3}
    reply = (await server.http.post("/v1/responses", json=BODY | fields)).json()
    call = reply["output"][-1]
    assert (call["type"], call["name"], call["input"], call["id"][:4]) == (
        "custom_tool_call",
        "apply_patch",
        text,
        "ctc_",
    )
    lines = (await server.http.post("/v1/responses", json=BODY | fields | {"stream": True})).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert without_ids(events[-1]["response"]) == without_ids(reply)
    deltas = ["custom_tool_call_input.delta", "custom_tool_call_input.done"]
    assert event_types(events)[-5:] == ["output_item.added", *deltas, "output_item.done", "completed"]
    assert events[-5]["item"]["input"] == ""
    assert events[-4]["delta"] == events[-3]["input"] == text

    result = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "done"}
    again = await server.http.post("/v1/responses", json=BODY | fields | {"input": [USER, call, result]})
    assert again.status_code == 200, again.text
    if arguments.get("input") == PATCH:
        function = turns(USER, call, result)[1]["tool_calls"][0]["function"]
        assert function == {"name": "apply_patch", "arguments": {"input": PATCH}}


async def test_tools_within_the_conversation_are_offered(served: Any, tool_model: Model) -> None:
    """Codex sends them so to models that it knows."""
    items = [
        {"type": "additional_tools", "id": "at_1", "role": "developer", "tools": [TEAM, SEARCH]},
        USER,
        {"type": "tool_search_call", "call_id": "s1", "arguments": {"query": "run"}, "execution": "client"},
        {"type": "tool_search_output", "call_id": "s1", "tools": [RUN], "execution": "client"},
    ]
    server = await served(model=tool_model, answer=call_text("spawn", cmd="x"), window_tokens=4096)
    response = await whole(server, input=items, thinking_token_budget=3)
    assert response["output"][-1]["namespace"] == "team"
    assert response["anytime"]["ignored"] == ["input.0.tools.0.tools.1.format", "input.0.tools.1", "input.2"]
    assert [tool["function"]["name"] for tool in generate(input=items).tools] == [
        "spawn",
        "tell",
        "run_command",
    ]


def test_hosted_tool_of_a_namespace_is_left_out() -> None:
    fields = {"model": "tiny", "input": "7-3", "tools": [TEAM | {"tools": [SEARCH, RUN]}]}
    request = ResponsesRequest.model_validate(fields)
    ignored = IgnoredFields()
    report_ignored(request, ignored)
    assert [tool["function"]["name"] for tool in request.toolbox.for_template()] == ["run_command"]
    assert ignored.fields == ["tools.0.tools.0"]


async def test_hosted_tools_are_left_out_and_reported(served: Any) -> None:
    server = await served()  # this model takes no tools
    kinds = ("web_search", "file_search", "image_generation", "local_shell", "mcp", "computer_use_preview")
    tools = [{"type": kind, "anything": [1]} for kind in kinds]
    response = (await server.http.post("/v1/responses", json=BODY | {"tools": tools})).json()
    assert response["status"] == "completed"
    assert response["tools"] == tools
    assert response["anytime"]["ignored"] == ["tools.0"]
    strict = await served(app={"is_strict": True})
    refused = await strict.http.post("/v1/responses", json=BODY | {"tools": tools})
    assert refused.json()["error"]["param"] == "tools.0"


def test_refusals_are_text() -> None:
    part = {"type": "refusal", "refusal": "I will not."}
    found = turns(USER, ANSWER | {"content": [part], "phase": "final_answer"}, USER)
    assert found[1] == {"role": "assistant", "content": "I will not."}


RECORDS: list[tuple[list[dict[str, Any]], str, Any, str]] = [
    (
        [
            {"type": "local_shell_call", "call_id": "c1", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "id": "c1", "output": "a.py"},
        ],
        "local_shell",
        {"type": "exec", "command": ["ls"]},
        "a.py",
    ),
    (
        [
            {"type": "shell_call", "call_id": "c1", "action": {"commands": ["ls"]}},
            {"type": "shell_call_output", "call_id": "c1", "output": [{"stdout": "a.py"}]},
        ],
        "shell",
        {"commands": ["ls"]},
        '[{"stdout": "a.py"}]',
    ),
    (
        [
            {"type": "apply_patch_call", "call_id": "c1", "operation": {"type": "delete_file", "path": "a"}},
            {"type": "apply_patch_call_output", "call_id": "c1", "status": "completed"},
        ],
        "apply_patch",
        {"type": "delete_file", "path": "a"},
        "completed",
    ),
    (
        [{"type": "mcp_call", "id": "mcp_1", "name": "find", "arguments": '{"q": 7}', "output": "found"}],
        "find",
        {"q": 7},
        "found",
    ),
    (
        [{"type": "mcp_call", "id": "mcp_1", "name": "find", "arguments": "{}", "error": {"message": "no"}}],
        "find",
        {},
        '{"message": "no"}',
    ),
    (
        [{"type": "code_interpreter_call", "id": "ci_1", "code": "7-3", "outputs": None}],
        "code_interpreter",
        {"code": "7-3"},
        "",
    ),
    (
        [{"type": "file_search_call", "id": "fs_1", "queries": ["7"], "results": [{"text": "seven"}]}],
        "file_search",
        {"queries": ["7"]},
        '[{"text": "seven"}]',
    ),
]


@pytest.mark.parametrize(("items", "name", "arguments", "text"), RECORDS)
def test_records_of_other_tools_are_calls_and_results(
    items: list[dict[str, Any]], name: str, arguments: Any, text: str
) -> None:
    called, result, _ = turns(*items, USER)
    assert called["tool_calls"][0]["function"] == {"name": name, "arguments": arguments}
    assert (result["role"], result["content"]) == ("tool", text)
    assert result["tool_call_id"] == called["tool_calls"][0]["id"]


async def test_records_without_content_are_reported(served: Any) -> None:
    server = await served()
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    response = await whole(server, input=[USER, search, ANSWER, USER])
    assert response["anytime"]["ignored"] == ["input.1"]
    assert response["usage"] == (await whole(server, input=[USER, ANSWER, USER]))["usage"]


@pytest.mark.parametrize("field", ["summary", "generate_summary"])
async def test_thinking_is_sent_as_a_summary_where_one_is_wanted(served: Any, field: str) -> None:
    server = await served(never_end=True)
    fields: Any = {"reasoning": {field: "auto"}, "thinking_token_budget": 20}
    events = await streamed(server, **fields)
    assert event_types(events)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    text = "".join(event["delta"] for event in events if event["type"].endswith("summary_text.delta"))
    response = await whole(server, **fields)
    thinking = response["output"][0]
    assert thinking["summary"] == [{"type": "summary_text", "text": text}]
    assert (len(text), thinking["content"]) == (20, [])
    assert response["reasoning"]["summary"] == "auto"
    assert not any("reasoning_text" in event["type"] for event in events)
    assert turns(USER, thinking, ANSWER, USER)[1]["reasoning_content"] == text
    without = await whole(server, thinking_token_budget=20, reasoning={"summary": "none"})
    assert (without["output"][0]["summary"], without["reasoning"]["summary"]) == ([], None)


async def test_cancelled_thinking_is_a_summary_too(served: Any) -> None:
    server = await served(never_end=True, die_after_tokens=10)
    [*_, last] = await streamed(server, reasoning={"summary": "detailed"})
    [thinking] = last["response"]["output"]
    assert (thinking["status"], thinking["content"]) == ("incomplete", [])
    assert thinking["summary"][0]["text"]


def test_thinking_in_both_forms_is_not_doubled() -> None:
    both = THINKING | {"summary": [{"type": "summary_text", "text": "hm"}]}
    assert turns(USER, both, ANSWER, USER)[1]["reasoning_content"] == "hm"


async def test_sdk_runs_a_loop_of_tool_calls(sdk: Any, tool_model: Model) -> None:
    client = await sdk(
        model=tool_model, answer=call_text("run_command", cmd="ls"), thinking_tokens=5, window_tokens=4096
    )
    items: list[Any] = [USER]
    for _ in range(3):
        async with client.responses.stream(
            model="tiny", input=items, tools=[RUN], reasoning={"summary": "auto"}
        ) as stream:
            response = await stream.get_final_response()
        call = response.output[-1]
        assert (call.type, call.name) == ("function_call", "run_command")
        items += [*response.output, OUTPUT | {"call_id": call.call_id}]
