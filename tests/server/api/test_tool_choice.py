"""`tool_choice` in every dialect: exactly such a call, after the thinking, with arguments of its schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anytime_server.engine.base import Enforced
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.text.model import Model

MESSAGES = [{"role": "user", "content": "7-3"}]
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city", "days"],
}
ADD: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
PARAMETERS: dict[str, Any] = {"weather": WEATHER, "add": ADD, "now": None}


def chat(choice: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
    tools = [
        {"type": "function", "function": {"name": name} | ({"parameters": given} if given else {})}
        for name, given in PARAMETERS.items()
    ]
    body = {"messages": MESSAGES, "tools": tools, "tool_choice": choice, "thinking_budget": 5}
    return "/v1/chat/completions", body | fields


def responses(choice: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
    tools = [{"type": "function", "name": name, "parameters": given} for name, given in PARAMETERS.items()]
    body = {"input": "7-3", "tools": tools, "tool_choice": choice, "thinking_budget": 5}
    return "/v1/responses", body | fields


def messages(choice: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
    tools = [
        {"name": name, "input_schema": given or {"type": "object"}} for name, given in PARAMETERS.items()
    ]
    body = {"messages": MESSAGES, "max_tokens": 300, "tools": tools, "tool_choice": choice}
    return "/v1/messages", body | {"thinking": {"type": "enabled", "budget_tokens": 5}} | fields


def outcome(path: str, body: dict[str, Any]) -> tuple[str, str, list[tuple[str, Any]]]:
    """Why a response ended, its thinking, and its calls; there is nothing else in it."""
    if path == "/v1/chat/completions":
        [choice] = body["choices"]
        assert choice["message"]["content"] is None
        calls = [
            (one["function"]["name"], one["function"]["arguments"]) for one in choice["message"]["tool_calls"]
        ]
        thinking = choice["message"]["reasoning_content"]
        return choice["finish_reason"], thinking, [(name, json.loads(text)) for name, text in calls]
    if path == "/v1/messages":
        first, *uses = body["content"]
        assert {one["type"] for one in uses} == {"tool_use"}
        return body["stop_reason"], first["thinking"], [(one["name"], one["input"]) for one in uses]
    first, *items = body["output"]
    assert {one["type"] for one in items} == {"function_call"}
    calls = [(one["name"], json.loads(one["arguments"])) for one in items]
    return body["status"], first["content"][0]["text"], calls


REQUIRED = [
    (chat, "required", "tool_calls"),
    (chat, "any", "tool_calls"),
    (responses, "required", "completed"),
    (messages, {"type": "any"}, "tool_use"),
]
NAMED = [
    (chat, {"type": "function", "function": {"name": "weather"}}, "stop"),  # as OpenAI and vLLM say
    (responses, {"type": "function", "name": "weather"}, "completed"),
    (messages, {"type": "tool", "name": "weather"}, "tool_use"),
]
ALLOWED = [
    (
        chat,
        lambda mode, *names: {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": mode,
                "tools": [{"type": "function", "function": {"name": name}} for name in names],
            },
        },
    ),
    (
        responses,
        lambda mode, *names: {
            "type": "allowed_tools",
            "mode": mode,
            "tools": [{"type": "function", "name": name} for name in names],
        },
    ),
]


@pytest.mark.parametrize(("request_of", "choice", "reason"), REQUIRED)
async def test_required_call_is_one_of_any_of_the_tools(
    served: Any, tool_model: Model, request_of: Callable[..., Any], choice: Any, reason: str
) -> None:
    calls = [{"name": "add", "arguments": {"a": 3}}, {"name": "now", "arguments": {}}]
    server = await served(window_tokens=2048, model=tool_model, answer=json.dumps(calls))
    path, body = request_of(choice)
    reply = (await server.http.post(path, json=body)).json()
    ended, thinking, found = outcome(path, reply)
    assert (ended, found) == (reason, [("add", {"a": 3}), ("now", {})])
    assert thinking
    assert reply["anytime"]["ignored"] == []
    assert reply["anytime"]["stop"] == {"cause": "budget", "budget_tokens": 5, "thinking_tokens": 5}


@pytest.mark.parametrize(("request_of", "choice", "reason"), NAMED)
async def test_named_function_is_called_once(
    served: Any, tool_model: Model, request_of: Callable[..., Any], choice: Any, reason: str
) -> None:
    server = await served(window_tokens=2048, model=tool_model, answer='{"city": "Bonn", "days": 2}')
    path, body = request_of(choice)
    ended, thinking, found = outcome(path, (await server.http.post(path, json=body)).json())
    assert (ended, found) == (reason, [("weather", {"city": "Bonn", "days": 2})])
    assert thinking


@pytest.mark.parametrize(("request_of", "choice_of"), ALLOWED)
async def test_allowed_tools_are_the_only_ones(
    served: Any, tool_model: Model, request_of: Callable[..., Any], choice_of: Any
) -> None:
    server = await served(window_tokens=2048, model=tool_model, answer='[{"name": "now", "arguments": {}}]')
    path, body = request_of(choice_of("required", "add", "now"))
    assert outcome(path, (await server.http.post(path, json=body)).json())[2] == [("now", {})]
    path, body = request_of(choice_of("required", "add"))
    assert outcome(path, (await server.http.post(path, json=body)).json())[2] == [("add", {"a": 0})]
    path, body = request_of(choice_of("auto", "add"))
    usage = [
        (await server.http.post(path, json=one)).json()["anytime"]["usage"]
        for one in (body, request_of("auto")[1])
    ]
    assert usage[0]["prompt_tokens"] < usage[1]["prompt_tokens"], "the model is shown the allowed tools only"


SINGLE = [
    (chat, "required", {"parallel_tool_calls": False}),
    (responses, "required", {"parallel_tool_calls": False}),
    (messages, {"type": "any", "disable_parallel_tool_use": True}, {}),
]


@pytest.mark.parametrize(("request_of", "choice", "fields"), SINGLE)
async def test_calls_at_the_same_time_can_be_forbidden(
    served: Any, tool_model: Model, request_of: Callable[..., Any], choice: Any, fields: dict[str, Any]
) -> None:
    server = await served(window_tokens=2048, model=tool_model, answer='{"name": "now", "arguments": {}}')
    path, body = request_of(choice, **fields)
    assert outcome(path, (await server.http.post(path, json=body)).json())[2] == [("now", {})]


@pytest.mark.parametrize(("request_of", "choice", "reason"), [*REQUIRED, *NAMED])
async def test_streamed_calls_are_those_of_the_whole_response(
    served: Any, tool_model: Model, request_of: Callable[..., Any], choice: Any, reason: str
) -> None:
    server = await served(window_tokens=2048, model=tool_model)
    path, body = request_of(choice, stream=True)
    lines = (await server.http.post(path, json=body)).text.splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    text = json.dumps(chunks)
    assert "error" not in {chunk.get("type") for chunk in chunks}, text
    if request_of is chat:
        deltas = [chunk["choices"][0] for chunk in chunks]
        [call] = [call for one in deltas for call in one["delta"].get("tool_calls", [])]
        assert (call["index"], call["function"]) == (
            0,
            {"name": "weather", "arguments": '{"city": "a", "days": 1}'},
        )
        assert deltas[-1]["finish_reason"] == reason
        assert not any(one["delta"].get("content") for one in deltas)
    else:
        [arguments] = [
            chunk.get("arguments") or chunk["delta"]["partial_json"]
            for chunk in chunks
            if chunk["type"] == "response.function_call_arguments.done"
            or (chunk.get("delta", {}) and "partial_json" in chunk.get("delta", {}))
        ]
        assert json.loads(arguments) == {"city": "a", "days": 1}


@pytest.mark.parametrize(("request_of", "choice", "reason"), [*REQUIRED[::2], *NAMED])
async def test_truncated_call_is_returned_as_text(
    served: Any, tool_model: Model, request_of: Callable[..., Any], choice: Any, reason: str
) -> None:
    server = await served(window_tokens=2048, model=tool_model)
    limit = "max_output_tokens" if request_of is responses else "max_tokens"
    path, body = request_of(choice, **{limit: 12})
    reply = (await server.http.post(path, json=body)).json()
    if request_of is chat:
        [choice] = reply["choices"]
        assert choice["finish_reason"] == "length"
        assert "tool_calls" not in choice["message"]
        assert choice["message"]["content"].startswith(("{", "["))
    elif request_of is responses:
        assert (reply["status"], reply["incomplete_details"]) == (
            "incomplete",
            {"reason": "max_output_tokens"},
        )
        assert "function_call" not in {item["type"] for item in reply["output"]}
    else:
        assert reply["stop_reason"] == "max_tokens"
        assert "tool_use" not in {block["type"] for block in reply["content"]}
    assert reply["anytime"]["usage"]["thinking_tokens"] + reply["anytime"]["usage"]["answer_tokens"] <= 12


async def test_stop_strings_do_not_break_calls(served: Any, tool_model: Model) -> None:
    """smolagents sends them beside a required call."""
    server = await served(
        model=tool_model, answer='[{"name": "weather", "arguments": {"city": "Observation:", "days": 1}}]'
    )
    path, body = chat("required", stop=["Observation:", "Calling tools:"])
    assert outcome(path, (await server.http.post(path, json=body)).json())[2][0][1]["city"] == "Observation:"


async def test_strict_of_a_tool_is_reported_where_the_model_decides(served: Any, tool_model: Model) -> None:
    server = await served(window_tokens=2048, model=tool_model)
    function = {"name": "add", "parameters": ADD, "strict": True}
    cases = [
        (chat, [{"type": "function", "function": function}], "tools.0.function.strict", "required"),
        (responses, [{"type": "function", **function}], "tools.0.strict", "required"),
        (messages, [{"name": "add", "input_schema": ADD, "strict": True}], "tools.0.strict", {"type": "any"}),
    ]
    for request_of, tools, field, required in cases:
        none = {"type": "none"} if request_of is messages else "none"
        for choice, ignored in ((None, [field]), (required, []), (none, [])):
            path, body = request_of(choice, tools=tools)
            assert (await server.http.post(path, json=body)).json()["anytime"]["ignored"] == ignored


async def test_choice_of_a_tool_that_servers_run_is_reported(served: Any, tool_model: Model) -> None:
    server = await served(window_tokens=2048, model=tool_model)
    path, body = responses({"type": "web_search"})
    assert (await server.http.post(path, json=body)).json()["anytime"]["ignored"] == ["tool_choice"]


ADD_TOOL = {"type": "function", "name": "add"}


async def test_response_repeats_the_choice_of_the_request(served: Any, tool_model: Model) -> None:
    server = await served(window_tokens=2048, model=tool_model)
    some = {"type": "allowed_tools", "mode": "auto", "tools": [ADD_TOOL]}
    for choice in ("none", "auto", "required", ADD_TOOL, some):
        path, body = responses(choice)
        assert (await server.http.post(path, json=body)).json()["tool_choice"] == choice
    path, body = responses(None)
    assert (await server.http.post(path, json=body)).json()["tool_choice"] == "auto"


DEEP = [("[" * 200 + "]" * 200, 200), ("[" * 260 + "]" * 260, 400), ('"\\ud800"', 400)]
"""Values that a response can repeat, and values that can only be parsed."""


async def test_choice_that_cannot_be_repeated_is_refused(served: Any, tool_model: Model) -> None:
    server = await served(window_tokens=2048, model=tool_model)
    path, body = responses("auto")
    for more, status in DEEP:
        for field, place in (("tool_choice", '"auto"'), ("tools.1.parameters", json.dumps(ADD))):
            value = f'{{"type": "function", "name": "add", "more": {more}}}'
            content = json.dumps(body).replace(place, value)
            headers = {"Content-Type": "application/json"}
            reply = await server.http.post(path, content=content, headers=headers)
            assert reply.status_code == status, (field, more)
            assert status == 200 or reply.json()["error"]["param"] == field


@pytest.mark.parametrize("thinking", [0, 5])
async def test_engine_is_held_to_the_parameters(
    served: Any, tool_model: Model, monkeypatch: pytest.MonkeyPatch, thinking: int
) -> None:
    """Only the answer is: the thinking is free."""
    asked: list[Any] = []
    generate = ScriptedEngine.generate
    monkeypatch.setattr(
        ScriptedEngine, "generate", lambda self, one: (asked.append(one), generate(self, one))[1]
    )
    server = await served(window_tokens=2048, model=tool_model)
    path, body = chat({"type": "function", "function": {"name": "weather"}}, thinking_budget=thinking)
    await server.http.post(path, json=body)
    *free, answer = [one.sampling.constraint for one in asked]
    assert free == [None] * bool(thinking)
    assert json.loads(answer.text) == WEATHER


async def test_model_in_channels_gives_the_call_as_its_final_text(served: Any, harmony_model: Model) -> None:
    server = await served(window_tokens=2048, model=harmony_model)
    path, body = chat({"type": "function", "function": {"name": "weather"}})
    reason, _, found = outcome(path, (await server.http.post(path, json=body)).json())
    assert (reason, found) == ("stop", [("weather", {"city": "a", "days": 1})])


async def test_thinking_that_ends_with_the_start_of_a_call_is_followed_by_the_required_one(
    served: Any, tool_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_id = tool_model.tokenizer.token_id("<tool_call>")
    tokens = ScriptedEngine._tokens

    def calling(self: Any, request: Any, draw: Any) -> Any:
        if request.sampling.constraint is None:
            yield from tool_model.tokenizer.encode("so")
            yield start_id
        yield from tokens(self, request, draw)

    monkeypatch.setattr(ScriptedEngine, "_tokens", calling)
    server = await served(window_tokens=2048, model=tool_model)
    path, body = chat("required", thinking_budget=50)
    reply = (await server.http.post(path, json=body)).json()
    reason, thinking, found = outcome(path, reply)
    assert (reason, thinking, found) == ("tool_calls", "so", [("weather", {"city": "a", "days": 1})])
    assert reply["anytime"]["stop"]["cause"] == "natural"


async def test_parameters_that_are_not_enforced_at_all_are_refused(
    served: Any, tool_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine finds them, such as a reference that leads nowhere: the call would have any arguments."""

    async def left_out(engine: ScriptedEngine, constraint: Constraint) -> Enforced:
        return Enforced(constraint=constraint, left_out=("#/$defs/0",), is_exact=False)

    monkeypatch.setattr(ScriptedEngine, "enforced", left_out)
    server = await served(window_tokens=2048, model=tool_model)
    path, body = chat("required")
    reply = await server.http.post(path, json=body)
    assert reply.status_code == 400, reply.text
    assert "cannot be enforced" in reply.json()["error"]["message"]


async def test_malformed_choices_are_refused(served: Any, tool_model: Model) -> None:
    server = await served(window_tokens=2048, model=tool_model)
    allowed = {"type": "allowed_tools", "tools": [{"type": "function", "function": {"name": "weather"}}]}
    for fields, field in [
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"type": ["x"], "name": 1}]}}, "tool_choice"),
        ({"tool_choice": allowed | {"mode": "zz"}}, "tool_choice.mode"),
    ]:
        path, body = chat("auto")
        reply = await server.http.post(path, json=body | fields)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == field
