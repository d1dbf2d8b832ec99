"""The chunks of a chat completion: the first one, the field of the thinking, and the usage."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from anytime_server.text.model import Model

from .test_chat import MESSAGES, create

PATH = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": MESSAGES, "thinking_budget": 6, "seed": 4}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


async def chunks_of(server: Any, **fields: Any) -> list[dict[str, Any]]:
    """All chunks of a streamed completion."""
    response = await server.http.post(PATH, json=BODY | {"stream": True} | fields)
    assert response.status_code == 200, response.text
    data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(chunk) for chunk in data]


async def deltas_of(server: Any, **fields: Any) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in await chunks_of(server, **fields) if chunk["choices"]]


async def message_of(server: Any, **fields: Any) -> dict[str, Any]:
    response = await server.http.post(PATH, json=BODY | fields)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]


async def test_no_limit_may_be_written_as_minus_one(served: Any) -> None:
    server = await served()
    for field in ("max_tokens", "max_completion_tokens"):
        body = {"messages": [{"role": "user", "content": "7-3"}], field: -1}
        reply = await server.http.post("/v1/chat/completions", json=body)
        assert (reply.status_code, reply.json()["anytime"]["ignored"]) == (200, [])


async def test_role_comes_with_the_first_token(served: Any) -> None:
    """So that load tools, which time the first chunk, measure the time to the first token."""
    server = await served(never_end=True, seconds_per_token=0.002)
    thinking = await message_of(server)
    first, second, *_ = await deltas_of(server)
    text = first.pop("reasoning_content")
    assert text
    assert thinking["reasoning_content"].startswith(text)
    assert first == {"role": "assistant", "content": ""}
    assert second == {"content": None, "reasoning_content": second["reasoning_content"]}
    [answer, *rest] = await deltas_of(server, thinking_budget=0)
    assert answer == {"role": "assistant", "content": "4", "reasoning_content": None}
    assert all("role" not in delta for delta in rest)
    *_, last = await deltas_of(server, stop=["4"])
    assert last == {"content": "", "reasoning_content": None}


async def test_role_comes_once_even_if_nothing_else_does(served: Any) -> None:
    server = await served(answer="42")
    [only] = await deltas_of(server, thinking_budget=0, stop=["4"])
    assert only == {"role": "assistant", "content": "", "reasoning_content": None}


async def test_role_comes_with_the_first_hidden_token(served: Any) -> None:
    """A client that hides the thinking gets the completion's id while it can still end the thinking."""
    server = await served(never_end=True, seconds_per_token=0.002)
    first, *answer, last = await deltas_of(server, include_reasoning=False)
    assert first == {"role": "assistant", "content": ""}
    assert "".join(delta["content"] for delta in answer) == "42"
    assert last == {"content": ""}


async def test_content_is_null_where_the_model_may_call_tools(served: Any, tool_model: Model) -> None:
    answer = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    server = await served(model=tool_model, answer=answer)
    for fields in ({}, {"logprobs": True}):
        deltas = await deltas_of(server, tools=TOOLS, **fields)
        assert deltas[0]["role"] == "assistant"
        assert {delta["content"] for delta in deltas} == {None}
        [called] = [delta for delta in deltas if "tool_calls" in delta]
        assert called["tool_calls"][0]["function"]["name"] == "f"


SERVERS_AND_FIELDS: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ({}, {}, ("reasoning_content",)),
    ({"reasoning_field": "reasoning"}, {}, ("reasoning",)),
    ({"reasoning_field": "both"}, {}, ("reasoning_content", "reasoning")),
    ({}, {"anytime": {"reasoning_field": "reasoning"}}, ("reasoning",)),
    ({}, {"anytime": {"reasoning_field": "both"}}, ("reasoning_content", "reasoning")),
    ({}, {"reasoning_format": "parsed"}, ("reasoning",)),
    ({"reasoning_field": "reasoning"}, {"reasoning_format": "deepseek"}, ("reasoning_content",)),
    ({"reasoning_field": "reasoning"}, {"reasoning_format": "auto"}, ("reasoning",)),
    ({"reasoning_field": "reasoning"}, {"separate_reasoning": True}, ("reasoning",)),
    ({}, {"reasoning_format": "hidden"}, ()),
]


@pytest.mark.parametrize(("app", "fields", "names"), SERVERS_AND_FIELDS)
async def test_thinking_is_in_the_field_that_was_chosen(
    served: Any, app: dict[str, Any], fields: dict[str, Any], names: tuple[str, ...]
) -> None:
    server = await served(app=app, never_end=True)
    message = await message_of(server, **fields)
    found = {name: message[name] for name in ("reasoning_content", "reasoning") if name in message}
    assert tuple(found) == names
    assert [len(text) for text in found.values()] == [6] * len(names)
    deltas = await deltas_of(server, **fields)
    for delta in deltas:
        assert delta.keys() - {"role", "content"} == set(names)
    for name in names:
        assert "".join(delta[name] or "" for delta in deltas) == found[name]
    assert deltas[-1] == {"content": ""} | dict.fromkeys(names)


@pytest.mark.parametrize("fields", [{"reasoning_format": "none"}, {"separate_reasoning": False}])
async def test_thinking_can_be_left_in_the_content(served: Any, fields: dict[str, Any]) -> None:
    server = await served(never_end=True)
    thinking = (await message_of(server))["reasoning_content"]
    message = await message_of(server, **fields)
    assert message["content"] == f"<think>\n{thinking}\n</think>\n\n42"
    assert message["reasoning_content"] is None
    deltas = await deltas_of(server, **fields)
    assert "".join(delta["content"] for delta in deltas) == message["content"]
    assert (await message_of(server, thinking_budget=0, **fields))["content"] == "42"


async def test_thinking_in_the_content_is_closed_before_a_call(served: Any, tool_model: Model) -> None:
    answer = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    server = await served(model=tool_model, never_end=True, answer=answer)
    message = await message_of(server, tools=TOOLS, reasoning_format="none")
    assert message["content"].endswith("\n</think>\n\n")
    assert len(message["tool_calls"]) == 1
    *_, called, last = await deltas_of(server, tools=TOOLS, reasoning_format="none")
    assert called["content"] == "\n</think>\n\n"
    assert len(called["tool_calls"]) == 1
    assert last["content"] is None


async def test_deepseeks_own_loop_reads_thinking_and_answer(sdk: Any) -> None:
    client: openai.AsyncOpenAI = await sdk(never_end=True)
    thinking = content = ""
    async for chunk in await create(client, thinking_budget=20, stream=True):
        if chunk.choices[0].delta.reasoning_content:
            thinking += chunk.choices[0].delta.reasoning_content
        else:
            content += chunk.choices[0].delta.content
    assert (len(thinking), content) == (20, "42")


@pytest.mark.parametrize("n", [1, 2])
async def test_usage_until_now_is_on_every_chunk(served: Any, n: int) -> None:
    server = await served(never_end=True, seconds_per_token=0.002, answer="1234567")
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, end = await chunks_of(server, n=n, stream_options=options)
    usages = [chunk["usage"] for chunk in chunks]
    counts = [usage["completion_tokens"] for usage in usages]
    assert counts == sorted(counts)
    assert 1 <= counts[0] < 6
    assert counts[-1] == end["usage"]["completion_tokens"] == n * (6 + 8)
    assert end["choices"] == []
    assert end["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    for usage in usages:
        assert usage["prompt_tokens"] == end["usage"]["prompt_tokens"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    thinking = [usage["completion_tokens_details"]["reasoning_tokens"] for usage in usages]
    assert thinking == sorted(thinking)
    assert thinking[-1] == n * 6
    if n == 1:  # one token after another, each counted in the chunk that shows it
        shown = 0
        for chunk, count in zip(chunks[:-1], counts, strict=False):
            delta = chunk["choices"][0]["delta"]
            shown += len(delta["reasoning_content"] or "") + len(delta["content"] or "")
            assert count == shown


async def test_usage_until_now_counts_early_answers(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.002)
    options = {"include_usage": True, "continuous_usage_stats": True}
    stop_when = {"stable": 2, "every_tokens": 4}
    fields = {"thinking_budget": 60, "anytime": {"stop_when": stop_when}, "stream_options": options}
    *chunks, end = await chunks_of(server, **fields)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert chunks[-1]["anytime"]["stop"]["cause"] == "stable"
    assert counts[-1] == end["usage"]["completion_tokens"]
    assert chunks[-2]["choices"][0]["delta"]["content"] == "42"
    used = chunks[-1]["anytime"]["usage"]
    assert counts[-2] >= used["thinking_tokens"] + 2 * 3  # of which the answer is one


async def test_usage_is_null_before_the_chunk_that_has_it(served: Any) -> None:
    server = await served()
    *chunks, end = await chunks_of(server, stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
    assert end["usage"]["completion_tokens"] > 0
    for options in (None, {}, {"include_usage": None}, {"include_usage": False}):
        chunks = await chunks_of(server, stream_options=options)
        assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


IGNORE_EOS: list[dict[str, Any]] = [
    {"max_tokens": 40},
    {"max_completion_tokens": 40},
    {"max_tokens": 40, "thinking_budget": 0},
    {"max_tokens": 40, "thinking_budget": 30},
    {"max_tokens": 40, "thinking_budget": None},
    {"max_tokens": 1, "thinking_budget": None},
    {"max_tokens": 2, "thinking_budget": None, "min_tokens": 2},
]


@pytest.mark.parametrize("thinking_tokens", [3, 500])
@pytest.mark.parametrize("fields", IGNORE_EOS)
async def test_without_the_end_of_the_turn_exactly_max_tokens_come(
    served: Any, fields: dict[str, Any], thinking_tokens: int
) -> None:
    server = await served(thinking_tokens=thinking_tokens)
    reply = await server.http.post(PATH, json=BODY | {"ignore_eos": True, "n": 2} | fields)
    body = reply.json()
    limit = fields.get("max_tokens") or fields["max_completion_tokens"]
    assert body["usage"]["completion_tokens"] == 2 * limit
    assert [choice["finish_reason"] for choice in body["choices"]] == ["length", "length"]
    assert body["anytime"]["ignored"] == []


async def test_at_least_min_tokens_come(served: Any) -> None:
    """An answer of 42 has three tokens, and goes on with the next 42 where it may not end."""
    server = await served(answer="42", thinking_tokens=6)
    for min_tokens, expected in ((None, 3), (0, 3), (2, 3), (3, 6), (20, 21)):
        fields = {"min_tokens": min_tokens, "thinking_budget": 0, "max_tokens": 60}
        body = (await server.http.post(PATH, json=BODY | fields)).json()
        assert body["usage"]["completion_tokens"] == expected, min_tokens
    for min_tokens, expected in ((None, 9), (8, 9), (10, 12), (59, 60), (60, 60)):
        fields = {"min_tokens": min_tokens, "thinking_budget": 6, "max_tokens": 60}
        body = (await server.http.post(PATH, json=BODY | fields)).json()
        assert body["usage"]["completion_tokens"] == expected, min_tokens
        assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 6
