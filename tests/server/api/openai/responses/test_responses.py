"""The Responses API, through the official SDK and on the wire."""

from __future__ import annotations

import asyncio
import json
from itertools import groupby
from typing import Any

import httpx2
import openai
import pytest
from fastapi.sse import KEEPALIVE_COMMENT
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ADDED = {"anytime", "store"}
"""Fields that the server adds to the SDK's model of a response."""
BODY: dict[str, Any] = {"model": "tiny", "input": "7-3"}
QUESTION: list[Any] = [{"role": "user", "content": "2+2"}]
IDS = ("id", "call_id", "created_at", "completed_at", "encrypted_content", "continuation")


async def create(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    own = ("thinking_token_budget", "thinking_budget", "anytime", "nonsense")
    extra = {name: fields.pop(name) for name in own if name in fields}
    return await client.responses.create(**BODY | fields, extra_body=extra or None)


def check_shape(parsed: Any) -> None:
    """Check that a parsed value has no fields that are unknown to the SDK's model."""
    if isinstance(parsed, BaseModel):
        extra = set(parsed.model_extra or ())
        assert extra <= (ADDED if isinstance(parsed, Response) else set()), (type(parsed), extra)
        parsed = [value for _, value in parsed]
    if isinstance(parsed, dict):
        parsed = list(parsed.values())
    if isinstance(parsed, list):
        for part in parsed:
            check_shape(part)


async def whole(server: Any, **fields: Any) -> dict[str, Any]:
    """A response that is not streamed, checked against the SDK's model."""
    reply = await server.http.post("/v1/responses", json=BODY | fields)
    assert reply.status_code == 200, reply.text
    check_shape(Response.model_validate(reply.json(), strict=True))
    assert reply.headers["x-request-id"] == reply.json()["id"]
    return reply.json()


async def streamed(server: Any, **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream, checked against the SDK's model, their names and numbers."""
    reply = await server.http.post("/v1/responses", json=BODY | fields | {"stream": True})
    assert reply.status_code == 200, reply.text
    found = []
    for block in reply.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
        parsed = EVENT.validate_python(found[-1], strict=True)
        assert parsed.type == found[-1]["type"]
        check_shape(parsed)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def without_ids(value: Any) -> Any:
    """The same without the fields that differ from session to session."""
    if isinstance(value, list):
        return [without_ids(part) for part in value]
    if isinstance(value, dict):
        return {key: without_ids(part) for key, part in value.items() if key not in ("timing", *IDS)}
    return value


def event_types(events: list[dict[str, Any]]) -> list[str]:
    """Types of events, with repeated deltas as one."""
    found = [event["type"].removeprefix("response.") for event in events]
    return [kind for kind, _ in groupby(found)]


async def test_whole_response(sdk: Any) -> None:
    client = await sdk(never_end=True)
    response = await create(client, thinking_token_budget=20, metadata={"a": "b"}, instructions="Be brief.")
    assert response.id.startswith("resp_")
    assert (response.status, response.error, response.incomplete_details) == ("completed", None, None)
    assert response.output_text == "42"
    thinking, message = response.output
    assert (thinking.type, thinking.summary, thinking.encrypted_content) == ("reasoning", [], None)
    assert len(thinking.content[0].text) == 20
    assert (thinking.id[:3], message.id[:4]) == ("rs_", "msg_")
    assert (message.role, message.status, message.content[0].annotations) == ("assistant", "completed", [])
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (18, 23, 41)
    assert usage.output_tokens_details.reasoning_tokens == 20
    assert usage.input_tokens_details.cached_tokens == 0
    assert response.anytime["stop"] == {"cause": "budget", "budget_tokens": 20, "thinking_tokens": 20}
    assert (response.metadata, response.instructions, response.store) == ({"a": "b"}, "Be brief.", True)


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking_token_budget": 20},
        {"thinking_token_budget": 0},
        {"thinking_token_budget": 9, "include": ["reasoning.encrypted_content"]},
        {"thinking_token_budget": 5, "include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"thinking_token_budget": 5, "reasoning": {"exclude": True}, "user": "u", "temperature": 0.5},
        {"max_output_tokens": 2},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}},
    ],
)
async def test_stream_ends_in_the_whole_response(served: Any, fields: dict[str, Any]) -> None:
    server = await served(never_end=True)
    expected = await whole(server, **fields)
    events = await streamed(server, **fields)
    last = events[-1]["response"]
    assert events[-1]["type"] == f"response.{expected['status']}"
    assert without_ids(last) == without_ids(expected)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == last["output"]
    assert {event["response"]["id"] for event in events if "response" in event} == {last["id"]}
    for event in events[:2]:
        assert event["response"]["status"] == "in_progress"
        assert event["response"]["output"] == []


ITEM = [
    "output_item.added",
    "content_part.added",
    "{}.delta",
    "{}.done",
    "content_part.done",
    "output_item.done",
]


@pytest.mark.parametrize(("budget", "kinds"), [(20, ["reasoning_text", "output_text"]), (0, ["output_text"])])
async def test_events_of_an_item_are_in_order(served: Any, budget: int, kinds: list[str]) -> None:
    server = await served(never_end=True)
    events = await streamed(server, thinking_token_budget=budget)
    items = [name.format(kind) for kind in kinds for name in ITEM]
    assert event_types(events) == ["created", "in_progress", *items, "completed"]
    for index, kind in enumerate(kinds):
        own = [event for event in events if event.get("output_index") == index]
        text = "".join(event["delta"] for event in own if event["type"].endswith("delta"))
        [finished] = [event["text"] for event in own if event["type"] == f"response.{kind}.done"]
        [part] = [event["part"] for event in own if event["type"] == "response.content_part.done"]
        assert text == finished == part["text"] == own[-1]["item"]["content"][0]["text"]
        assert {event["item_id"] for event in own[1:-1]} == {own[0]["item"]["id"]} == {own[-1]["item"]["id"]}
        assert (
            own[0]["item"] | {"content": own[-1]["item"]["content"], "status": "completed"} == own[-1]["item"]
        )


async def test_sdk_accumulates_a_stream(sdk: Any) -> None:
    client = await sdk(never_end=True)
    async with client.responses.stream(**BODY, extra_body={"thinking_token_budget": 12}) as stream:
        snapshots = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert snapshots[-1] == final.output_text == "42"
    assert len(final.output[0].content[0].text) == 12


async def test_sdk_parses_an_answer(sdk: Any) -> None:
    class Sum(BaseModel):
        total: int

    client = await sdk(answer='{"total":4}')
    response = await client.responses.parse(**BODY, text_format=Sum)
    assert response.output_parsed == Sum(total=4)
    async with client.responses.stream(**BODY, text_format=Sum) as stream:
        assert (await stream.get_final_response()).output_parsed == Sum(total=4)
    again = await create(client, input=[{"role": "user", "content": "7-3"}, *response.output, *QUESTION])
    assert again.status == "completed"


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"reasoning": {"effort": "medium"}, "max_output_tokens": 80}, 40),
        ({"reasoning": {"effort": "none", "summary": "auto"}}, 0),
        ({"max_output_tokens": 52}, 40),
        ({"max_output_tokens": 1}, 0),
        ({"thinking_budget": 7}, 7),
        ({"reasoning": {"max_tokens": 8}, "anytime": {"budget": 8}}, 8),
    ],
)
async def test_budget_has_the_requested_tokens(served: Any, fields: dict[str, Any], tokens: int) -> None:
    server = await served(never_end=True)
    response = await whole(server, **fields)
    assert response["anytime"]["stop"]["thinking_tokens"] == tokens
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": tokens}


async def test_early_answers_are_counted_and_not_shown(served: Any) -> None:
    server = await served(never_end=True)
    fields = {"anytime": {"stop_when": {"stable": 2, "every_tokens": 8}}}
    response = await whole(server, **fields)
    assert response["anytime"]["stop"]["cause"] == "stable"
    usage = response["anytime"]["usage"]
    assert usage["provisional_tokens"] > 0
    sampled = usage["thinking_tokens"] + usage["answer_tokens"] + usage["provisional_tokens"]
    assert response["usage"]["output_tokens"] == sampled
    events = await streamed(server, **fields)
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "42"


@pytest.mark.parametrize("stream", [False, True])
async def test_truncated_answer_is_incomplete(sdk: Any, stream: bool) -> None:
    client = await sdk(never_end=True, answer="a rather long answer, longer than its room")
    response = await create(client, max_output_tokens=30, stream=stream)
    if stream:
        [*_, last] = [event async for event in response]
        assert last.type == "response.incomplete"
        response = last.response
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.usage.output_tokens == 30
    assert response.output[-1].status == "incomplete"
    assert response.output_text == "a rather lon"


async def test_logprobs_are_reported_whole_and_streamed(sdk: Any) -> None:
    client = await sdk(never_end=True)
    fields: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 3, "thinking_token_budget": 4}
    response = await create(client, **fields)
    logprobs = response.output[-1].content[0].logprobs
    assert "".join(token.token for token in logprobs) == "42"
    assert [token.bytes for token in logprobs] == [[52], [50]]
    assert all(len(t.top_logprobs) == 3 and t.top_logprobs[0].token == t.token for t in logprobs)
    events = [event async for event in await create(client, **fields, stream=True)]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [(token.token, token.logprob) for event in deltas for token in event.logprobs] == [
        (token.token, token.logprob) for token in logprobs
    ]


async def test_answer_now_takes_the_response_id(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.002)
    async with server.http.stream("POST", "/v1/responses", json=BODY | {"stream": True}) as reply:
        lines = reply.aiter_lines()
        while not (line := await anext(lines)).startswith("data: "):
            pass
        response_id = json.loads(line[6:])["response"]["id"]
        assert (await server.http.post(f"/v1/anytime/{response_id}/answer")).status_code == 202
        *_, last = [json.loads(line[6:]) async for line in lines if line.startswith("data: ")]
    assert last["type"] == "response.completed"
    assert last["response"]["anytime"]["stop"]["cause"] == "client"


async def test_cancelled_stream_ends_in_failed(sdk: Any) -> None:
    client = await sdk(never_end=True, seconds_per_token=0.002)
    events = await create(client, stream=True)
    opened = (await anext(events)).response.id
    while (last := await anext(events)).type != "response.reasoning_text.delta":
        pass
    async with httpx2.AsyncClient() as http:
        assert (await http.delete(f"{client.base_url}anytime/{opened}")).status_code == 204
    async for event in events:
        last = event
    check_shape(last)
    assert last.type == "response.failed"
    assert (last.response.status, last.response.usage) == ("failed", None)
    assert (last.response.error.code, last.response.error.type) == ("server_error", "cancelled")
    [thinking] = last.response.output
    assert (thinking.type, thinking.status) == ("reasoning", "incomplete")


async def test_dead_engine_ends_the_stream_in_failed(served: Any) -> None:
    server = await served(never_end=True, die_after_tokens=10)
    events = await streamed(server)
    assert [event["type"] for event in events].count("response.failed") == 1
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["type"] == "engine_dead"
    reply = await server.http.post("/v1/responses", json=BODY)
    assert (reply.status_code, reply.json()["error"]["type"]) == (503, "server_error")


async def test_disconnected_client_ends_the_session(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.01)
    async with server.http.stream("POST", "/v1/responses", json=BODY | {"stream": True}) as reply:
        async for _ in reply.aiter_lines():
            break
    await server.idle()


async def test_keep_alive_comments_are_sent(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anytime_server.api.sse.KEEP_ALIVE_S", 0.01)
    server = await served(first_token_s=0.1)
    reply = await server.http.post("/v1/responses", json=BODY | {"stream": True})
    assert KEEPALIVE_COMMENT.decode() in reply.text
    assert "[DONE]" not in reply.text


async def test_concurrent_responses_have_their_own_ids(served: Any) -> None:
    server = await served()
    several = await asyncio.gather(*(whole(server) for _ in range(3)))
    ids = [id_ for response in several for id_ in (response["id"], *(i["id"] for i in response["output"]))]
    assert len(set(ids)) == 9
