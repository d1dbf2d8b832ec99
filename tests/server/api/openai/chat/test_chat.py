"""Chat completions through the official SDK."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import openai
import pytest
from anytime_server.engine.scripted import ScriptedEngine

MESSAGES: Any = [{"role": "user", "content": "7-3"}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


async def create(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    """Create a completion; fields that are no arguments of the SDK go into the body."""
    known = inspect.signature(client.chat.completions.create).parameters
    extra = {name: fields.pop(name) for name in list(fields) if name not in known}
    return await client.chat.completions.create(
        **({"model": "tiny", "messages": MESSAGES} | fields), extra_body=extra or None
    )


async def test_whole_completion(sdk: Any) -> None:
    client = await sdk(never_end=True)
    completion = await create(client, thinking_token_budget=20, seed=4)
    [choice] = completion.choices
    assert choice.message.content == "42"
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "stop"
    assert len(choice.message.reasoning_content) == 20
    assert not hasattr(choice.message, "reasoning")
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 23, 30)
    assert usage.completion_tokens_details.reasoning_tokens == 20
    assert completion.anytime["stop"] == {"cause": "budget", "budget_tokens": 20, "thinking_tokens": 20}
    assert completion.anytime["timing"]["total_s"] > 0
    assert completion.anytime["usage"]["inserted_tokens"] == 12
    assert "anytime" not in choice.model_dump()
    assert completion.id.startswith("chatcmpl-")
    assert completion.object == "chat.completion"


async def test_stream_equals_the_whole_completion(sdk: Any) -> None:
    client = await sdk(never_end=True)
    whole = await create(client, thinking_token_budget=20, seed=4)
    chunks = [
        chunk
        async for chunk in await create(
            client, thinking_token_budget=20, seed=4, stream=True, stream_options={"include_usage": True}
        )
    ]
    *content, last, usage = chunks
    assert content[0].choices[0].delta.role == "assistant"
    deltas = [chunk.choices[0].delta for chunk in content]
    thinking = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thinking == whole.choices[0].message.reasoning_content
    assert "".join(delta.content or "" for delta in deltas) == "42"
    assert [chunk.choices[0].finish_reason for chunk in content] == [None] * len(content)
    assert last.choices[0].finish_reason == "stop"
    assert last.anytime["stop"] == whole.anytime["stop"]
    assert usage.choices == []
    assert usage.usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


async def test_stream_ends_with_done(served: Any) -> None:
    server = await served()
    body = {"model": "tiny", "messages": MESSAGES, "stream": True}
    response = await server.http.post("/v1/chat/completions", json=body)
    assert response.text.rstrip().endswith("data: [DONE]")
    assert "event:" not in response.text


BUDGETS_OF_40: list[dict[str, Any]] = [
    {"thinking_token_budget": 40},
    {"thinking_budget": 40},
    {"thinking_budget_tokens": 40},
    {"reasoning_budget_tokens": 40},
    {"custom_params": {"thinking_budget": 40}},
    {"nvext": {"max_thinking_tokens": 40}},
    {"reasoning": {"max_tokens": 40}},
    {"reasoning": {"effort": "medium"}, "max_tokens": 80},
    {"reasoning_effort": "low", "max_completion_tokens": 200},
    {"thinking": {"type": "enabled", "budget_tokens": 40}},
    {"anytime": {"budget": 40}},
    {"anytime": {"budget": {"tokens": 40}}, "thinking_budget": 40},
    {"max_tokens": 52},
    {"reasoning_budget_tokens": -1, "max_tokens": 52},
]


async def test_every_alias_of_the_budget_is_accepted(sdk: Any) -> None:
    client = await sdk(never_end=True)
    for fields in BUDGETS_OF_40:
        completion = await create(client, **fields)
        assert completion.usage.completion_tokens_details.reasoning_tokens == 40, fields


BUDGETS_OF_0: list[dict[str, Any]] = [
    {"reasoning_effort": "none"},
    {"reasoning": {"enabled": False}},
    {"thinking": {"type": "disabled"}},
    {"thinking_token_budget": 0},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"chat_template_kwargs": {"thinking": False}, "thinking_budget": 0},
]


async def test_thinking_can_be_turned_off(sdk: Any) -> None:
    client = await sdk(never_end=True)
    for fields in BUDGETS_OF_0:
        completion = await create(client, **fields)
        assert completion.usage.completion_tokens_details.reasoning_tokens == 0, fields
        assert completion.choices[0].message.content == "42"


async def test_max_tokens_limits_thinking_and_answer_together(sdk: Any) -> None:
    client = await sdk(never_end=True, answer="a rather long answer, longer than its room")
    for max_tokens in (1, 2, 11, 12, 13, 14, 100):
        completion = await create(client, max_tokens=max_tokens)
        assert completion.usage.completion_tokens == max_tokens
        assert completion.choices[0].message.content
        assert completion.choices[0].finish_reason == "length"


async def test_max_tokens_never_lowers_a_budget_that_leaves_room(sdk: Any) -> None:
    """A `max_tokens` of the whole window is a limit, not a reservation."""
    client = await sdk(never_end=True, answer="word " * 30)
    completion = await create(client, max_tokens=512, thinking_budget=16)
    assert completion.anytime["stop"] == {"cause": "budget", "budget_tokens": 16, "thinking_tokens": 16}
    assert completion.choices[0].message.content == "word " * 30


async def test_answer_gets_the_max_tokens_that_thinking_leaves(sdk: Any) -> None:
    client = await sdk(thinking_tokens=4, answer="word " * 10)
    completion = await create(client, max_tokens=60)
    assert completion.anytime["stop"]["cause"] == "natural"
    assert completion.choices[0].message.content == "word " * 10
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("fields", [{"reasoning": {"exclude": True}}, {"include_reasoning": False}])
@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_can_be_excluded(sdk: Any, fields: dict[str, Any], stream: bool) -> None:
    client = await sdk(never_end=True)
    response = await create(client, thinking_budget=10, stream=stream, **fields)
    text = str([chunk async for chunk in response]) if stream else str(response)
    assert "reasoning_content" not in text


async def test_deadline_truncates(sdk: Any) -> None:
    client = await sdk(never_end=True, seconds_per_token=0.002, measure_speed=True)
    completion = await create(client, anytime={"budget": {"deadline_ms": 300}})
    assert completion.anytime["stop"]["cause"] == "deadline"


BAD: list[tuple[str, dict[str, Any]]] = [
    ("thinking_budget", {"thinking_token_budget": 40, "thinking_budget": 41}),
    ("thinking_token_budget", {"thinking_token_budget": -2}),
    ("thinking_token_budget", {"thinking_token_budget": "many"}),
    ("thinking_budget", {"thinking_budget": 100_000}),
    ("anytime.budget", {"anytime": {"budget": 100_000}}),
    ("chat_template_kwargs.enable_thinking", {"chat_template_kwargs": {"enable_thinking": "no"}}),
    ("chat_template_kwargs", {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}),
    (
        "chat_template_kwargs.enable_thinking",
        {"chat_template_kwargs": {"enable_thinking": False}, "thinking_budget": 9},
    ),
    ("max_tokens", {"max_tokens": "many"}),
    ("reasoning_effort", {"reasoning_effort": "heroic"}),
    ("max_tokens", {"max_tokens": 0}),
    ("temperature", {"temperature": -1}),
    ("thinking_budget_tokens", {"thinking_budget_tokens": -2}),
    ("thinking_budget", {"thinking_budget": -1}),
    ("anytime.stop_when.stable", {"anytime": {"stop_when": {"stable": 1, "every_tokens": 4}}}),
    ("anytime.continuation", {"anytime": {"continuation": "a1.forged.forged"}}),
    ("n", {"n": 0}),
    ("n", {"n": 17}),
    ("n", {"n": True}),
    ("stop", {"stop": [f"{i}" for i in range(17)]}),
    ("stop.0", {"stop": [7]}),
    ("stop.1", {"stop": ["x", None]}),
    ("logprobs", {"logprobs": 0}),
    ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
    ("response_format.type", {"response_format": {"type": "yaml"}}),
    ("response_format.json_schema", {"response_format": {"type": "json_schema"}}),
    ("reasoning_control", {"reasoning_control": "yes"}),
    ("messages", {"messages": []}),
    ("messages.0.content", {"messages": [{"role": "user", "content": ""}]}),
]


@pytest.mark.parametrize("stream", [False, True])
async def test_bad_requests_get_400_with_their_parameter(sdk: Any, stream: bool) -> None:
    client = await sdk()
    found = []
    for param, fields in BAD:
        with pytest.raises(openai.BadRequestError) as refused:
            pytest.fail(f"{param}: {await create(client, stream=stream, **fields)}")
        assert refused.value.type == "invalid_request_error", fields
        assert refused.value.code in ("invalid_request", "not_supported"), fields
        found.append((refused.value.param, fields))
    assert found == BAD


async def test_unknown_model_gets_404(sdk: Any) -> None:
    client = await sdk()
    with pytest.raises(openai.NotFoundError) as refused:
        await create(client, model="gpt-0")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_fields_without_effect_are_accepted(sdk: Any) -> None:
    client = await sdk()
    completion = await create(
        client,
        n=1,
        user="me",
        metadata={"a": "b"},
        store=False,
        presence_penalty=0,
        frequency_penalty=0,
        response_format={"type": "text"},
        logprobs=False,
        top_logprobs=0,
        stop=[],
        tools=[],
        tool_choice="none",
        parallel_tool_calls=True,
        prompt_cache_key="k",
        service_tier="auto",
        safety_identifier="me",
        reasoning_control=True,
        reasoning_format="auto",
        top_k=-1,
        chat_template_kwargs={"enable_thinking": True},
    )
    assert completion.choices[0].message.content == "42"


async def test_answer_can_be_sent_back_unchanged(sdk: Any) -> None:
    client = await sdk()
    first = (await create(client)).choices[0].message
    messages = [*MESSAGES, first, {"role": "user", "content": "and 8-3?"}]
    assert (await create(client, messages=messages)).choices[0].message.content == "42"
    messages[1] = first.model_dump()
    assert (await create(client, messages=messages)).choices[0].message.content == "42"


@pytest.mark.parametrize(
    ("param", "turn"),
    [
        ("messages.1.tool_calls.0.function", {"role": "assistant", "tool_calls": [{"id": "c"}]}),
        ("messages.1.tool_calls", {"role": "user", "content": "7", "tool_calls": [CALL]}),
        ("messages.1.audio", {"role": "assistant", "content": "4", "audio": {"id": "a"}}),
        ("messages.1.content", {"role": "user", "content": None}),
    ],
)
async def test_invalid_turns_are_refused_with_their_parameter(
    sdk: Any, param: str, turn: dict[str, Any]
) -> None:
    client = await sdk()
    with pytest.raises(openai.BadRequestError) as refused:
        await create(client, messages=[*MESSAGES, turn, *MESSAGES])
    assert refused.value.param == param


async def test_turns_of_loosely_typed_clients_are_answered(served: Any) -> None:
    server = await served()
    call = {"type": "function", "function": {"name": "add"}}
    turns = [
        {"role": "user", "content": ["7", "-3"], "tool_call_id": "c"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4"},
    ]
    body = {"messages": turns, "max_tokens": 50, "top_p": 0}
    response = await server.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["anytime"]["ignored"] == ["messages.0.tool_call_id"]


async def test_empty_stop_string_ends_nothing(served: Any) -> None:
    server = await served(thinking_tokens=9)
    for stop in ("", ["", "no"]):
        body = {"messages": MESSAGES, "stop": stop}
        response = (await server.http.post("/v1/chat/completions", json=body)).json()
        assert response["choices"][0]["message"]["content"] == "42"
        assert response["anytime"]["ignored"] == []


async def test_request_during_loading_gets_503(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that are checked against the window get the same 503: the window is not known yet."""

    async def load_forever(engine: ScriptedEngine) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ScriptedEngine, "start", load_forever)
    server = await served(ready=False)
    for fields in ({}, {"max_tokens": 100}, {"thinking_budget": 40}, {"reasoning_effort": "low"}):
        body = {"model": "tiny", "messages": MESSAGES} | fields
        response = await server.http.post("/v1/chat/completions", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")


async def test_history_may_have_thinking_and_text_parts(sdk: Any) -> None:
    client = await sdk()
    completion = await create(
        client,
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "7"}, {"type": "text", "text": "-3"}]},
            {"role": "assistant", "content": "4", "reasoning_content": "7-3=4"},
            {"role": "assistant", "content": "4", "reasoning": "7-3=4"},
            {"role": "user", "content": "and 8-3?"},
        ],
    )
    assert completion.choices[0].message.content == "42"


async def test_engine_death_within_a_stream_raises_in_the_client(sdk: Any) -> None:
    client = await sdk(never_end=True, die_after_tokens=5)
    with pytest.raises(openai.APIError, match="engine"):
        async for _ in await create(client, stream=True):
            pass


async def test_engine_death_without_a_stream_gets_503(sdk: Any) -> None:
    client = await sdk(never_end=True, die_after_tokens=5)
    with pytest.raises(openai.InternalServerError) as failed:
        await create(client)
    assert failed.value.status_code == 503


async def test_models_are_listed_and_retrieved(sdk: Any) -> None:
    client = await sdk()
    [model] = (await client.models.list()).data
    assert model.id == "tiny"
    assert model.anytime["think_end"] == "</think>"
    assert (await client.models.retrieve("tiny")).max_model_len == 512
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other/one")
