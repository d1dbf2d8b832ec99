"""Answers that the client has begun: a last message of the assistant is continued, in every dialect."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anytime_server.auth import RequestLimits
from anytime_server.engine import EngineRequest
from anytime_server.scheduler.operator_limits import OperatorLimits

from .conftest import Served
from .test_adapters import record

USER: dict[str, Any] = {"role": "user", "content": "7-3"}
BEGUN = [USER, {"role": "assistant", "content": "It is "}]
CHAT, MESSAGES, NATIVE = "/v1/chat/completions", "/v1/messages", "/v1/anytime"
REQUESTS: dict[str, dict[str, Any]] = {
    CHAT: {"model": "tiny"},
    MESSAGES: {"model": "tiny", "max_tokens": 60},
    NATIVE: {"stream": False},
}
QUESTION = "<|user|>7-3<|end|><|assistant|><think>"


@pytest.fixture(name="server")
async def fixture_server(served: Any) -> Served:
    return await served(thinking_tokens=5)


def prompt(server: Served, request: EngineRequest) -> str:
    return server.scheduler.model.tokenizer.decode(request.prompt_ids, keeps_special=True)


async def post(server: Served, path: str, **fields: Any) -> dict[str, Any]:
    response = await server.http.post(path, json=REQUESTS[path] | fields)
    assert response.status_code == 200, response.text
    return response.json()


def answer(path: str, body: dict[str, Any]) -> str:
    match path:
        case "/v1/chat/completions":
            return body["choices"][0]["message"]["content"]
        case "/v1/messages":
            return "".join(block["text"] for block in body["content"] if block["type"] == "text")
    return body["answer"]


def stop(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return body["stop"] if path == NATIVE else body["anytime"]["stop"]


async def test_last_items_of_a_response_are_continued(server: Served) -> None:
    thinking = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "7-3=4"}]}
    found = record(server)
    for items, ending in [
        ([BEGUN[1]], "</think>It is "),
        ([thinking], "7-3=4</think>"),
        ([thinking, BEGUN[1]], "7-3=4</think>It is "),
    ]:
        found.clear()
        reply = await server.http.post("/v1/responses", json={"input": [USER, *items]})
        assert reply.json()["output"][-1]["content"][0]["text"] == "42"
        assert prompt(server, found[-1]).startswith(f"{QUESTION}{ending}")


@pytest.mark.parametrize("path", REQUESTS)
async def test_text_of_the_last_message_is_continued_without_thinking(server: Served, path: str) -> None:
    found = record(server)
    body = await post(server, path, messages=BEGUN)
    [sampled] = found
    assert prompt(server, sampled) == f"{QUESTION}</think>It is "
    assert answer(path, body) == "42"
    assert stop(path, body) == {"cause": "natural", "budget_tokens": 0, "thinking_tokens": 0}


CONTINUED: list[dict[str, Any]] = [
    {"messages": BEGUN, "continue_final_message": True, "add_generation_prompt": False},
    {"messages": [USER, BEGUN[1] | {"prefix": True}]},
]


async def test_marks_of_other_servers_are_understood(server: Served) -> None:
    for fields in CONTINUED:
        found = record(server)
        body = await post(server, CHAT, **fields)
        assert prompt(server, found[0]).endswith("</think>It is ")
        assert answer(CHAT, body) == "42"


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_begins_the_content_with_the_clients_text(server: Served, stream: bool) -> None:
    body: dict[str, Any] = REQUESTS[CHAT] | {"messages": BEGUN, "echo": True, "stream": stream}
    response = await server.http.post(CHAT, json=body)
    if stream:
        assert '"content":"It is "' in response.text
    else:
        assert answer(CHAT, response.json()) == "It is 42"
    fresh = await post(server, CHAT, messages=[USER], echo=True)
    assert answer(CHAT, fresh) == "42"


@pytest.mark.parametrize("path", REQUESTS)
async def test_thinking_of_the_last_message_is_closed_before_its_text(server: Served, path: str) -> None:
    begun: dict[str, Any] = {"role": "assistant", "content": "It is ", "reasoning_content": "7-3=4"}
    if path == MESSAGES:
        thinking = {"type": "thinking", "thinking": "7-3=4", "signature": ""}
        begun = {"role": "assistant", "content": [thinking, {"type": "text", "text": "It is "}]}
    found = record(server)
    body = await post(server, path, messages=[USER, begun])
    assert [prompt(server, one) for one in found] == [f"{QUESTION}7-3=4</think>It is "]
    assert stop(path, body)["thinking_tokens"] == 0


async def test_thinking_alone_is_closed_and_answered(server: Served) -> None:
    found = record(server)
    begun = {"role": "assistant", "content": None, "reasoning_content": "7-3=4"}
    assert answer(CHAT, await post(server, CHAT, messages=[USER, begun])) == "42"
    assert [prompt(server, one) for one in found] == [f"{QUESTION}7-3=4</think>"]


async def test_thinking_in_its_markers_is_continued_to_the_budget(served: Any) -> None:
    server = await served(never_end=True)
    found = record(server)
    begun = {"role": "assistant", "content": "<think>Let me"}
    body = await post(server, CHAT, messages=[USER, begun], thinking_token_budget=6)
    assert prompt(server, found[0]) == f"{QUESTION}Let me"
    assert stop(CHAT, body) == {"cause": "budget", "budget_tokens": 6, "thinking_tokens": 6}
    found.clear()
    begun = {"role": "assistant", "content": "<think>Let me</think>It is "}
    await post(server, CHAT, messages=[USER, begun], thinking_token_budget=6)
    assert [prompt(server, one) for one in found] == [f"{QUESTION}Let me</think>It is "]


async def test_empty_last_message_begins_nothing(server: Served) -> None:
    found = record(server)
    body = await post(server, CHAT, messages=[USER, {"role": "assistant", "content": ""}])
    assert prompt(server, found[0]) == QUESTION
    assert stop(CHAT, body)["thinking_tokens"] == 5


async def test_last_message_can_be_complete(server: Served) -> None:
    found = record(server)
    await post(server, CHAT, messages=BEGUN, continue_final_message=False)
    assert prompt(server, found[0]) == ("<|user|>7-3<|end|><|assistant|>It is <|end|><|assistant|><think>")


@pytest.mark.parametrize(("said", "rest"), [("\n\n4", "\n\n4"), (" ", " "), ("<|end|>", "")])
async def test_white_space_and_nothing_at_all_may_follow(served: Any, said: str, rest: str) -> None:
    """The text goes on where the client left it, or is complete."""
    server = await served(answer=said)
    found = record(server)
    body = await post(server, CHAT, messages=BEGUN)
    assert answer(CHAT, body) == rest
    assert len(found) == 1


async def test_white_space_may_stop_it(served: Any) -> None:
    server = await served(answer="\n\n4")
    assert answer(CHAT, await post(server, CHAT, messages=BEGUN, stop=["\n"])) == ""
    assert answer(CHAT, await post(server, CHAT, messages=[USER], stop=["\n"])) == "\n\n4"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
    (CHAT, {"messages": [USER], "continue_final_message": True}, "continue_final_message"),
    (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
    (CHAT, {"messages": BEGUN[1:]}, "messages"),
    (CHAT, {"anytime": {"continuation": "x"}}, "anytime.continuation"),
    (NATIVE, {"answer": {"response_format": {"type": "json_object"}}}, "answer.response_format"),
    (MESSAGES, {"output_format": {"type": "json_schema", "schema": {}}}, "output_format"),
    (MESSAGES, {"messages": BEGUN[1:]}, "messages.0"),
]


async def test_options_that_contradict_a_begun_answer_are_refused(server: Served) -> None:
    for path, fields, field in REFUSED:
        response = await server.http.post(path, json=REQUESTS[path] | {"messages": BEGUN} | fields)
        assert response.status_code == (422 if path == NATIVE else 400), (fields, response.text)
        error = response.json()["error"]
        assert field in (error.get("param"), error.get("field")) or error["message"].startswith(field), fields


CALL = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS: dict[str, Any] = {
    CHAT: {"role": "assistant", "content": None, "tool_calls": [CALL]},
    NATIVE: {"role": "assistant", "content": None, "tool_calls": [CALL]},
    MESSAGES: {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
}


async def test_call_without_its_result_is_refused(server: Served) -> None:
    for path, call in CALLS.items():
        response = await server.http.post(path, json=REQUESTS[path] | {"messages": [USER, call]})
        assert response.status_code in (400, 422)
        assert "the result of a call must follow it" in response.text


async def test_tools_are_read_after_a_begun_answer(served: Any, tool_model: Any) -> None:
    said = 'ok <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    server = await served(model=tool_model, answer=said)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = await post(server, CHAT, messages=BEGUN, tools=[tool])
    message = body["choices"][0]["message"]
    assert message["content"].strip() == "ok"
    assert message["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'


async def test_answer_in_a_channel_goes_on_in_it(served: Any, harmony_model: Any) -> None:
    server = await served(model=harmony_model)
    found = record(server)
    body = await post(server, CHAT, messages=BEGUN)
    *_, turn = prompt(server, found[0]).partition("7-3<|end|>")
    assert turn == "<|start|>assistant<|channel|>final<|message|>It is "
    assert answer(CHAT, body) == "42"


async def test_anthropics_sdk_prefills(server: Served) -> None:
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        message = await client.messages.create(model="tiny", max_tokens=60, messages=BEGUN)  # pyright: ignore[reportArgumentType]
        counted = await client.messages.count_tokens(model="tiny", messages=BEGUN)  # pyright: ignore[reportArgumentType]
    [block] = message.content
    assert block.type == "text"
    assert block.text == "42"
    assert counted.input_tokens == message.usage.input_tokens


async def test_budget_that_has_no_effect_is_reported(server: Served) -> None:
    body = await post(server, CHAT, messages=BEGUN, thinking_token_budget=9)
    assert body["anytime"]["ignored"] == ["thinking_token_budget"]
    fresh = await post(server, CHAT, messages=[USER], thinking_token_budget=9, add_generation_prompt=False)
    assert fresh["anytime"]["ignored"] == ["add_generation_prompt"]
    response = await server.http.post(NATIVE, json={"messages": BEGUN, "budget": 9})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "budget")


async def test_effort_has_no_effect_and_the_servers_default_budget_is_not_reported(served: Any) -> None:
    server = await served(options={"limits": OperatorLimits(server=RequestLimits(default_budget=8))})
    messages = [{"role": "user", "content": "7-3"}, {"role": "assistant", "content": "The answer is "}]
    for fields, ignored in [
        ({}, []),
        ({"reasoning_effort": "low"}, ["reasoning_effort"]),
        ({"thinking_budget": 4}, ["thinking_budget"]),
    ]:
        reply = await server.http.post("/v1/chat/completions", json={"messages": messages} | fields)
        assert reply.json()["anytime"]["ignored"] == ignored
