"""Tools in chat completions: rendered for the model, called in its answer, refused if invalid."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from anytime_server.api.schema.messages import Arguments, Conversation
from anytime_server.text.model import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from .test_answers import check_shape
from .test_chat import MESSAGES, create

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds.",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
        },
    }
]
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
BODY: dict[str, Any] = {
    "model": "tiny",
    "messages": MESSAGES,
    "thinking_budget": 5,
    "max_tokens": 200,
    "tools": TOOLS,
}


async def ask(server: Any, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The only choice of a whole response, and the sum of the chunks of a stream."""
    body = BODY | fields
    whole = (await server.http.post("/v1/chat/completions", json=body)).json()
    check_shape(ChatCompletion, whole)
    lines = (await server.http.post("/v1/chat/completions", json=body | {"stream": True})).text.split("\n\n")
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    streamed: dict[str, Any] = {"content": "", "tool_calls": [], "logprobs": []}
    for chunk in chunks:
        check_shape(ChatCompletionChunk, chunk)
        [choice] = chunk["choices"]
        streamed["content"] += choice["delta"].get("content") or ""
        streamed["tool_calls"] += choice["delta"].get("tool_calls", [])
        streamed["logprobs"] += (choice["logprobs"] or {}).get("content", [])
        streamed["finish_reason"] = choice["finish_reason"]
    return whole["choices"][0], streamed


def calls_of(calls: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


@pytest.mark.parametrize(
    ("answer", "fields", "content", "calls"),
    [
        (CALL, {}, None, [("add", {"a": 1})]),
        (f" {CALL}\n{CALL}", {}, None, [("add", {"a": 1})] * 2),
        (f"Let me.\n{CALL}{CALL}", {"parallel_tool_calls": False}, "Let me.\n", [("add", {"a": 1})]),
        ("Just text.", {}, "Just text.", []),
        ("Broken <tool_call> x", {}, "Broken <tool_call> x", []),
        (CALL, {"tool_choice": "none"}, CALL, []),
    ],
)
async def test_calls_in_an_answer_are_reported(
    served: Any, tool_model: Model, answer: str, fields: Any, content: str | None, calls: Any
) -> None:
    server = await served(model=tool_model, answer=answer)
    choice, streamed = await ask(server, **fields)
    reason = "tool_calls" if calls else "stop"
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, reason)
    assert (streamed["content"], streamed["finish_reason"]) == (content or "", reason)
    assert calls_of(choice["message"].get("tool_calls", [])) == calls_of(streamed["tool_calls"]) == calls
    assert ("tool_calls" in choice["message"]) == bool(calls)
    assert [call["index"] for call in streamed["tool_calls"]] == list(range(len(calls)))
    ids = [call["id"] for call in choice["message"].get("tool_calls", []) + streamed["tool_calls"]]
    assert len(set(ids)) == len(ids)
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in ids), "not ids that Mistral accepts"


async def test_logprobs_include_the_tokens_of_calls(served: Any, tool_model: Model) -> None:
    """Tokens of held back text are reported with the call or the text that it becomes."""
    server = await served(model=tool_model, answer=f"So: {CALL}")
    choice, streamed = await ask(server, logprobs=True)
    assert "".join(token["token"] for token in choice["logprobs"]["content"]) == f"So: {CALL}"
    assert streamed["logprobs"] == choice["logprobs"]["content"]


async def test_each_choice_has_its_own_calls(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model, answer=CALL)
    whole = (await server.http.post("/v1/chat/completions", json=BODY | {"n": 2})).json()
    ids = {choice["message"]["tool_calls"][0]["id"] for choice in whole["choices"]}
    assert len(ids) == 2


async def test_sdk_parses_calls_and_sends_them_back(sdk: Any, tool_model: Model) -> None:
    client = await sdk(model=tool_model, answer=f"So: {CALL}")

    class add(BaseModel):
        a: int

    fields: Any = {
        "model": "tiny",
        "messages": MESSAGES,
        "tools": [openai.pydantic_function_tool(add)],
        "max_tokens": 200,
        "extra_body": {"thinking_budget": 5},
    }
    message = (await client.chat.completions.parse(**fields)).choices[0].message
    assert message.tool_calls[0].function.parsed_arguments == add(a=1)
    async with client.chat.completions.stream(**fields) as stream:
        streamed = (await stream.get_final_completion()).choices[0].message
    assert streamed.tool_calls[0].function.parsed_arguments == add(a=1)
    assert streamed.content == "So: "
    for turn in (message, streamed, streamed.model_dump(), message.model_dump(exclude_none=True)):
        calls = turn["tool_calls"] if isinstance(turn, dict) else turn.tool_calls
        call_id = calls[0]["id"] if isinstance(turn, dict) else calls[0].id
        result = {"role": "tool", "tool_call_id": call_id, "content": ""}
        messages = [*MESSAGES, turn, result]
        completion = await create(client, messages=messages, tools=TOOLS, max_tokens=100, thinking_budget=5)
        assert completion.choices[0].finish_reason == "tool_calls"


async def test_tools_calls_and_results_are_in_the_prompt(
    served: Any, tool_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await served(model=tool_model)
    rendered: list[str] = []
    render = tool_model.tokenizer.encode

    def record(text: str, **options: bool) -> list[int]:
        rendered.append(text)
        return render(text, **options)

    monkeypatch.setattr(tool_model.tokenizer, "encode", record)
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    history = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    ]
    strict = [{"type": "function", "function": TOOLS[0]["function"] | {"strict": True}}]
    for fields in ({"tools": strict}, {"tool_choice": "none"}):
        body = BODY | {"messages": [*MESSAGES, *history]} | fields
        response = await server.http.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
    turns = (
        '<|user|>7-3<|end|><|assistant|><tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call><|end|>'
        "<|user|>4(c1)<|end|><|assistant|><think>"
    )
    assert rendered == [json.dumps(TOOLS[0]) + "<tool_call>" + turns, turns]


def test_arguments_suit_every_kind_of_template() -> None:
    """DeepSeek's templates append arguments to text; others write the object, or a text unchanged."""
    call = {"id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}
    turn: Any = {"role": "assistant", "tool_calls": [call]}
    messages = [turn, {"role": "user", "content": "x"}]
    [first, _] = Conversation.model_validate({"messages": messages}).turns()
    arguments = first["tool_calls"][0]["function"]["arguments"]
    assert arguments == {"a": 1}
    assert ("<" + arguments + ">", f"{arguments}") == ('<{"a":1}>', '{"a":1}')
    assert isinstance(arguments, Arguments)
    for text, expected in [("", {}), ("[1]", "[1]"), ("{broken", "{broken")]:
        call["function"] = {"name": "f", "arguments": text}
        [first, _] = Conversation.model_validate({"messages": messages}).turns()
        assert first["tool_calls"][0]["function"]["arguments"] == expected
        assert first["content"] == ""


FUNCTION = {"type": "function", "function": {"name": "f"}}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("tools.0.type", {"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
    ("tools.0.function.name", {"tools": [{"type": "function", "function": {}}]}),
    ("tools.0.function.name", {"tools": [{"type": "function", "function": {"name": ""}}]}),
    ("tools.0.function.parameters", {"tools": [FUNCTION | {"function": {"name": "f", "parameters": 1}}]}),
    ("tools", {"tools": [FUNCTION] * 1025}),
    ("parallel_tool_calls", {"tools": [FUNCTION], "parallel_tool_calls": "no"}),
    ("tool_choice", {"tools": [FUNCTION], "tool_choice": "always"}),
    ("tool_choice", {"tools": [FUNCTION], "tool_choice": 3}),
    ("tool_choice", {"tool_choice": "required"}),
    ("tool_choice", {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
    ("tool_choice", {"tools": [FUNCTION], "tool_choice": {"type": "function"}}),
    ("tool_choice", {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
async def test_invalid_tools_are_refused_with_their_parameter(
    sdk: Any, tool_model: Model, stream: bool
) -> None:
    client = await sdk(model=tool_model)
    for param, fields in BAD:
        with pytest.raises(openai.BadRequestError) as refused:
            pytest.fail(f"{param}: {await create(client, stream=stream, **fields)}")
        assert refused.value.param == param


async def test_lone_surrogate_in_a_tool_is_refused(served: Any, tool_model: Model) -> None:
    server = await served(model=tool_model)
    body = json.dumps(BODY).replace("Adds.", "\\ud800").replace('"integer"', '"\\ud800"')
    for field, text in [("description", body), ("parameters", body.replace("\\ud800", "Adds.", 1))]:
        response = await server.http.post(
            "/v1/chat/completions", content=text, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 400
        assert response.json()["error"]["param"] == f"tools.0.function.{field}"


async def test_tools_are_refused_for_a_model_that_takes_none(sdk: Any) -> None:
    client = await sdk()
    with pytest.raises(openai.BadRequestError, match="takes no tools") as refused:
        await create(client, tools=TOOLS)
    assert (refused.value.param, refused.value.code) == ("tools", "not_supported")
    assert (await create(client, tools=TOOLS, tool_choice="none")).choices[0].message.content == "42"


async def test_a_failing_parser_is_counted_and_its_call_is_text(
    served: Any, tool_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.tool_parsers import ToolParserManager

    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ToolParserManager.get_tool_parser("hermes"), "extract_tool_calls", fail)
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    server = await served(model=tool_model, answer=call)
    response = await server.http.post("/v1/chat/completions", json=BODY)
    choice = response.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (call, "stop")
    metrics = (await server.http.get("/metrics")).text
    assert "\nanytime_tool_parser_failures_total 1.0\n" in metrics
