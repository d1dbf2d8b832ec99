"""The Messages API through the official SDK: thinking, answers and streams."""

from __future__ import annotations

import asyncio
import json
from itertools import groupby
from typing import Any

import anthropic
import httpx2
import pydantic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

MESSAGES: Any = [{"role": "user", "content": "7-3"}]
ENABLED: Any = {"type": "enabled", "budget_tokens": 20}
EXTRA = ("anytime", "output_format", "temperature", "top_p")
"""Fields for which the SDK's `create` has no parameters."""
BODY: dict[str, Any] = {"model": "tiny", "max_tokens": 100, "messages": MESSAGES}


async def create(client: anthropic.AsyncAnthropic, **fields: Any) -> Any:
    extra = {name: fields.pop(name) for name in list(fields) if name in EXTRA}
    return await client.messages.create(**(BODY | fields), extra_body=extra or None)


async def events_of(response: httpx2.Response) -> list[dict[str, Any]]:
    """Events of a stream as they were on the wire."""
    lines = response.text.split("\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert named == [event["type"] for event in events]
    return events


async def test_whole_message(sdk: Any) -> None:
    client = await sdk(never_end=True)
    message = await create(client, thinking=ENABLED)
    thinking, text = message.content
    assert (thinking.type, len(thinking.thinking)) == ("thinking", 20)
    assert (text.type, text.text) == ("text", "42")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == ("message", "assistant", "tiny")
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (7, 23)
    assert usage.output_tokens_details.thinking_tokens == 20
    assert usage.cache_read_input_tokens + usage.cache_creation_input_tokens == 0
    assert message.anytime["stop"] == {"cause": "budget", "budget_tokens": 20, "thinking_tokens": 20}
    assert message.anytime["timing"]["total_s"] > 0
    assert thinking.signature == message.anytime["continuation"]


async def test_stream_equals_the_whole_message(sdk: Any) -> None:
    client = await sdk(never_end=True)
    whole = await create(client, thinking=ENABLED)
    async with client.messages.stream(**BODY, thinking=ENABLED) as stream:
        texts = [text async for text in stream.text_stream]
        streamed = await stream.get_final_message()
    assert "".join(texts) == "42"
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert streamed.usage.to_dict() == whole.usage.to_dict()
    assert (streamed.stop_reason, streamed.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
    assert streamed.id.startswith("msg_")


async def test_events_are_in_order(served: Any) -> None:
    server = await served(never_end=True)
    body = BODY | {"stream": True, "thinking": ENABLED}
    events = await events_of(await server.http.post("/v1/messages", json=body))
    types = [kind for kind, _ in groupby(event["type"] for event in events)]  # unread deltas are merged
    indices = [e["index"] for e in events if e["type"].startswith("content_block")]
    deltas = [e["delta"]["type"] for e in events if e["type"] == "content_block_delta"]
    assert types == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert indices == sorted(indices)
    assert [kind for kind, _ in groupby(deltas)] == ["thinking_delta", "signature_delta", "text_delta"]
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert events[-2]["anytime"]["stop"]["cause"] == "budget"


def check_keys(value: Any, checked: Any) -> None:
    """Check that the SDK's type has a field for each key, except for the `anytime` object."""
    if isinstance(checked, pydantic.BaseModel):
        assert set(value) - {"anytime"} <= set(type(checked).model_fields)
        for name, part in value.items():
            if name != "anytime" and not (value.get("type") == "tool_use" and name == "input"):
                check_keys(part, getattr(checked, name))
    elif isinstance(value, list):
        for item, checked_item in zip(value, checked, strict=True):
            check_keys(item, checked_item)


TOOL = {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


@pytest.mark.parametrize("with_tools", [False, True])
async def test_bodies_and_events_conform_to_the_sdk_types(
    served: Any, tool_model: Any, with_tools: bool
) -> None:
    more = {"model": tool_model, "answer": f"So: {CALL}"} if with_tools else {}
    server = await served(never_end=True, **more)
    body = BODY | {"thinking": ENABLED} | ({"tools": [TOOL]} if with_tools else {})
    whole = (await server.http.post("/v1/messages", json=body)).json()
    check_keys(whole, Message.model_validate(whole, strict=True))
    events = await events_of(await server.http.post("/v1/messages", json=body | {"stream": True}))
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    for event in events:
        if event["type"] != "ping":
            check_keys(event, adapter.validate_python(event, strict=True))


@pytest.mark.parametrize(
    ("thinking_tokens", "fields"),
    [
        (0, {}),
        (0, {"thinking": {"type": "disabled"}}),
        (0, {"thinking": {"type": "disabled"}, "anytime": {"budget": {"deadline_ms": 5000}}}),
        (1, {"thinking": {"type": "enabled", "budget_tokens": 1}}),
        (40, {"thinking": {"type": "enabled", "budget_tokens": 40}}),
        (40, {"thinking": {"type": "enabled", "budget_tokens": 40}, "max_tokens": 52}),
        (40, {"thinking": {"type": "adaptive"}, "max_tokens": 52}),
        (20, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        (88, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
        (40, {"anytime": {"budget": 40}}),
        (40, {"anytime": {"budget": 40}, "thinking": {"type": "enabled", "budget_tokens": 40}}),
        (0, {"anytime": {"budget": 0}, "thinking": {"type": "adaptive"}}),
        (0, {"anytime": {"forcing": "close"}}),
    ],
)
async def test_thinking_has_the_requested_length(
    sdk: Any, thinking_tokens: int, fields: dict[str, Any]
) -> None:
    client = await sdk(never_end=True)
    message = await create(client, **fields)
    assert message.usage.output_tokens_details.thinking_tokens == thinking_tokens
    kinds = ["thinking", "text"] if thinking_tokens else ["text"]
    assert [block.type for block in message.content] == kinds
    async with client.messages.stream(
        **(BODY | {name: value for name, value in fields.items() if name != "anytime"}),
        extra_body={"anytime": fields.get("anytime")},
    ) as stream:
        assert [block.type for block in (await stream.get_final_message()).content] == kinds


async def test_thinking_can_be_omitted(sdk: Any) -> None:
    client = await sdk(never_end=True)
    thinking: Any = ENABLED | {"display": "omitted"}
    whole = await create(client, thinking=thinking)
    async with client.messages.stream(**BODY, thinking=thinking) as stream:
        events = [event async for event in stream]
        streamed = await stream.get_final_message()
    for block in (whole.content[0], streamed.content[0]):
        assert (block.type, block.thinking) == ("thinking", "")
        assert block.signature.startswith("a1.")
    assert "thinking" not in {event.type for event in events}
    assert whole.usage.output_tokens_details.thinking_tokens == 20


@pytest.mark.parametrize("display", ["summarized", "omitted"])
@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_block_at_the_end_is_resumed(sdk: Any, display: str, stream: bool) -> None:
    client = await sdk(never_end=True)
    at_once = await create(client, thinking=ENABLED)
    first = await create(client, thinking={"type": "enabled", "budget_tokens": 8, "display": display})
    turn: Any = {"role": "assistant", "content": [first.content[0]]}
    fields: Any = BODY | {"messages": [*MESSAGES, turn], "thinking": ENABLED | {"budget_tokens": 12}}
    if stream:
        async with client.messages.stream(**fields) as streamed:
            second = await streamed.get_final_message()
    else:
        second = await client.messages.create(**fields)
    assert second.usage.input_tokens == 7 + 8
    assert second.usage.output_tokens_details.thinking_tokens == 12
    assert second.content[0].signature != first.content[0].signature
    # Thinking in two parts is resumed like thinking in one part.
    rest: Any = fields | {"messages": [*MESSAGES, {"role": "assistant", "content": [second.content[0]]}]}
    whole: Any = fields | {"messages": [*MESSAGES, {"role": "assistant", "content": [at_once.content[0]]}]}
    in_parts, in_one = await client.messages.create(**rest), await client.messages.create(**whole)
    assert in_parts.usage.input_tokens == in_one.usage.input_tokens == 7 + 20


async def test_changed_thinking_is_refused(sdk: Any) -> None:
    client = await sdk(never_end=True)
    block = (await create(client, thinking=ENABLED)).content[0]
    changed: Any = {"role": "assistant", "content": [block.to_dict() | {"thinking": "I give up."}]}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.1\.content\.0\.signature"):
        await create(client, messages=[*MESSAGES, changed], thinking=ENABLED)


async def test_thinking_block_at_the_end_without_a_budget_is_answered(sdk: Any) -> None:
    client = await sdk(never_end=True)
    first = await create(client, thinking=ENABLED)
    turn = {"role": "assistant", "content": [first.content[0]]}
    second = await create(client, messages=[*MESSAGES, turn])
    assert [block.type for block in second.content] == ["text"]
    assert second.usage.input_tokens == 27


async def test_anytime_object_of_a_request_is_applied(sdk: Any) -> None:
    client = await sdk(never_end=True, seconds_per_token=0.001)
    message = await create(client, anytime={"stop_when": {"stable": 2, "every_tokens": 4}})
    assert message.anytime["stop"]["cause"] == "stable"
    assert [block.text for block in message.content if block.type == "text"] == ["42"]
    usage = message.anytime["usage"]
    assert usage["provisional_tokens"] > 0
    assert message.usage.output_tokens == sum(
        usage[name] for name in ("thinking_tokens", "answer_tokens", "provisional_tokens")
    )
    again = await create(client, anytime={"continuation": message.anytime["continuation"], "budget": 5})
    assert again.usage.input_tokens == 7 + usage["thinking_tokens"]


@pytest.mark.parametrize(("thinking", "cause"), [(ENABLED, "loop"), (None, "budget")])
async def test_repetition_loop_ends_thinking_that_was_asked_for(sdk: Any, thinking: Any, cause: str) -> None:
    client = await sdk(never_end=True, fault="loop")
    rule = {"loop": {"repeats": 2, "min_tokens": 2}}
    fields = {} if thinking is None else {"thinking": thinking}
    message = await create(client, anytime={"stop_when": rule}, **fields)
    assert message.anytime["stop"]["cause"] == cause


@pytest.mark.parametrize("stream", [False, True])
async def test_stop_reason_names_the_end_of_the_answer(sdk: Any, stream: bool) -> None:
    client = await sdk(never_end=True, answer="one two three")

    async def stop_of(**fields: Any) -> tuple[Any, ...]:
        if not stream:
            message = await create(client, **fields)
        else:
            async with client.messages.stream(**(BODY | fields)) as streamed:
                message = await streamed.get_final_message()
        return message.stop_reason, message.stop_sequence, *(block.text for block in message.content)

    assert await stop_of() == ("end_turn", None, "one two three")
    assert await stop_of(max_tokens=5) == ("max_tokens", None, "one t")
    assert await stop_of(stop_sequences=["three", "two"]) == ("stop_sequence", "two", "one ")
    assert await stop_of(stop_sequences=["one"]) == ("stop_sequence", "one")


async def test_answer_matches_a_schema(sdk: Any) -> None:
    class Digit(pydantic.BaseModel):
        digit: int

    client = await sdk(answer='{"digit":4}')
    schema = {"type": "object", "properties": {"digit": {"type": "integer"}}}
    for fields in (
        {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        {"output_format": {"type": "json_schema", "schema": schema}},
    ):
        assert (await create(client, **fields)).content[0].text == '{"digit":4}'
    parsed = await client.messages.parse(**BODY, output_format=Digit)
    assert parsed.parsed_output == Digit(digit=4)
    async with client.messages.stream(**BODY, output_format=Digit) as stream:
        assert (await stream.get_final_message()).parsed_output == Digit(digit=4)


async def test_headers_and_raw_events_carry_the_id(sdk: Any) -> None:
    client = await sdk(never_end=True)
    raw = await client.messages.with_raw_response.create(**BODY, thinking=ENABLED)
    message = await raw.parse()
    assert raw.headers["request-id"] == message.id == message._request_id
    stream = await client.messages.create(**BODY, thinking=ENABLED, stream=True)
    assert stream.response.headers["request-id"].startswith("msg_")
    kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert (await client.beta.messages.create(**BODY, betas=["x-2025-01-01"])).content[0].text == "42"


async def test_pings_are_sent_while_no_event_comes(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings are also sent during long thinking that is omitted."""
    monkeypatch.setattr("anytime_server.api.sse.KEEP_ALIVE_S", 0.02)
    server = await served(never_end=True, first_token_s=0.1, seconds_per_token=0.005)
    body = BODY | {"stream": True, "thinking": ENABLED | {"display": "omitted"}}
    response = await server.http.post("/v1/messages", json=body)
    types = [event["type"] for event in await events_of(response)]
    assert ":" not in {line[:1] for line in response.text.split("\n")}
    thinking_start = types.index("content_block_start")
    assert "ping" in types[2:thinking_start]
    assert "ping" in types[thinking_start : types.index("content_block_delta")]


async def test_answer_now_takes_the_message_id(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.002)
    body = BODY | {"stream": True, "max_tokens": 500, "thinking": {"type": "adaptive"}}
    async with server.http.stream("POST", "/v1/messages", json=body) as response:
        now = await server.http.post(f"/v1/anytime/{response.headers['request-id']}/answer")
        assert now.status_code == 202
        events = await events_of(httpx2.Response(200, content=await response.aread()))
    assert events[-2]["anytime"]["stop"]["cause"] == "client"


async def test_disconnected_client_ends_the_session(served: Any) -> None:
    server = await served(never_end=True, seconds_per_token=0.005)
    body = BODY | {"max_tokens": 500, "thinking": {"type": "adaptive"}}
    async with server.http.stream("POST", "/v1/messages", json=body | {"stream": True}):
        assert server.scheduler.engine.load().num_requests
    await server.idle()
    whole = asyncio.create_task(server.http.post("/v1/messages", json=body))
    while not server.scheduler.engine.load().num_requests:
        await asyncio.sleep(0.001)
    whole.cancel()
    await server.idle()
