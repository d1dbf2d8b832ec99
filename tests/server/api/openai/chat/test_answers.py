"""Options of a chat completion's answer, and the shape of bodies and chunks."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.errors import InvalidRequest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion import ChoiceLogprobs
from pydantic import BaseModel

from .test_chat import MESSAGES, create

ADDED = {"anytime", "reasoning", "reasoning_content"}
"""Fields that the server adds to those of the SDK."""


def check_shape(model: type[BaseModel], value: dict[str, Any]) -> None:
    """Check that a body is valid for the SDK's model without conversion, and has no unknown fields."""
    model.model_validate(value, strict=True)
    for name, field_value in value.items():
        if name in ADDED:
            continue
        assert name in model.model_fields, f"{model.__name__} has no {name}"
        [inner, *_] = [*_models_in(model.model_fields[name].annotation), None]
        for part in field_value if isinstance(field_value, list) else [field_value]:
            if inner is not None and isinstance(part, dict):
                check_shape(inner, part)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


REQUESTS: list[dict[str, Any]] = [
    {},
    {"n": 2},
    {"logprobs": True, "top_logprobs": 2, "thinking_budget": 5},
    {"include_reasoning": False, "stop": "2"},
]


async def test_bodies_and_chunks_conform_to_the_sdk_models(served: Any) -> None:
    server = await served()
    for fields in REQUESTS:
        body = {"model": "tiny", "messages": MESSAGES} | fields
        whole = (await server.http.post("/v1/chat/completions", json=body)).json()
        check_shape(ChatCompletion, whole)
        assert whole.keys() >= {"id", "object", "created", "model", "choices", "usage", "anytime"}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        lines = (await server.http.post("/v1/chat/completions", json=body)).text.split("\n\n")
        *data, done = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        for chunk in data:
            check_shape(ChatCompletionChunk, json.loads(chunk))
        assert done == "[DONE]"


def test_shape_check_finds_other_fields_and_types() -> None:
    token = {"token": "4", "logprob": -1.0, "bytes": [52], "top_logprobs": []}
    check_shape(ChoiceLogprobs, {"content": [token | {"anytime": {}}]})
    with pytest.raises(AssertionError, match="has no other"):
        check_shape(ChoiceLogprobs, {"content": [token | {"other": 1}]})
    with pytest.raises(ValueError, match="valid number"):
        check_shape(ChoiceLogprobs, {"content": [token | {"logprob": "-1.0"}]})


@pytest.mark.parametrize(
    ("stop", "content"), [("and", "this "), (["x", " that"], "this and"), ("absent", "this and that")]
)
async def test_answer_ends_before_a_stop_string(sdk: Any, stop: Any, content: str) -> None:
    client = await sdk(answer="this and that")
    fields = {"stop": stop, "max_tokens": 100, "thinking_budget": 5}
    whole = await create(client, **fields)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (content, "stop")
    chunks = [
        chunk
        async for chunk in await create(client, stop=stop, max_tokens=100, thinking_budget=5, stream=True)
    ]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == content
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_logprobs_are_reported_whole_and_streamed(sdk: Any) -> None:
    client = await sdk(answer="4é")
    whole = await create(client, logprobs=True, top_logprobs=3, seed=1)
    tokens = whole.choices[0].logprobs.content
    assert (tokens[0].token, tokens[0].bytes) == ("4", [52])
    assert [token.bytes for token in tokens[1:]] == [None, None], "bytes of half a character"
    assert all(len(token.top_logprobs) == 3 for token in tokens)
    assert all(token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob for token in tokens)
    assert all(token.logprob <= 0 for token in tokens)
    chunks = [
        chunk async for chunk in await create(client, logprobs=True, top_logprobs=3, seed=1, stream=True)
    ]
    logprobs = [chunk.choices[0].logprobs.content for chunk in chunks if chunk.choices[0].logprobs]
    assert [token for part in logprobs for token in part] == tokens
    alone = (await create(client, logprobs=True)).choices[0].logprobs.content
    assert [token.top_logprobs for token in alone] == [[], [], []]


async def test_answer_has_the_response_format(sdk: Any) -> None:
    client = await sdk(answer='{"a":4}')

    class Answer(BaseModel):
        a: int

    completion = await client.chat.completions.parse(
        model="tiny", messages=MESSAGES, response_format=Answer, max_tokens=100
    )
    first = completion.choices[0].message
    assert first.parsed == Answer(a=4)
    again = [*MESSAGES, first.model_dump(warnings=False), *MESSAGES]
    assert (await create(client, messages=again)).choices[0].message.content == '{"a":4}'
    for response_format in ({"type": "json_object"}, {"type": "text"}):
        completion = await create(client, response_format=response_format)
        assert completion.choices[0].message.content == '{"a":4}'


async def test_schema_that_cannot_be_enforced_is_refused(sdk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await sdk(answer='{"a":4}')
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
    assert await create(client, response_format=schema)

    async def refuse(engine: Any, constraint: Constraint) -> Enforced:
        raise InvalidRequest(f"not {constraint.text}")

    monkeypatch.setattr("anytime_server.engine.scripted.ScriptedEngine.enforced", refuse)
    with pytest.raises(openai.BadRequestError, match=r"not \{\}") as refused:
        await create(client, response_format=schema)
    assert refused.value.param == "response_format"


async def test_early_answers_of_stop_when_are_counted_and_not_shown(sdk: Any) -> None:
    client = await sdk(never_end=True, seconds_per_token=0.001)
    fields = {"anytime": {"stop_when": {"stable": 3, "every_tokens": 4}}}
    whole = await create(client, **fields)
    assert whole.anytime["stop"]["cause"] == "stable"
    assert whole.choices[0].message.content == "42"
    counted = whole.anytime["usage"]
    assert counted["provisional_tokens"] > 0
    assert whole.usage.completion_tokens == sum(
        counted[part] for part in ("thinking_tokens", "answer_tokens", "provisional_tokens")
    )
    chunks = [chunk async for chunk in await create(client, **fields, logprobs=True, stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "42"
    logprobs = [chunk.choices[0].logprobs.content for chunk in chunks if chunk.choices[0].logprobs]
    assert "".join(token.token for part in logprobs for token in part) == "42"
    assert chunks[-1].anytime["stop"]["cause"] == "stable"


async def test_repetition_loop_ends_the_thinking(sdk: Any) -> None:
    client = await sdk(never_end=True, fault="loop")
    fields = {"anytime": {"stop_when": {"loop": True}}}
    assert (await create(client, **fields)).anytime["stop"]["cause"] == "loop"


async def test_continuation_token_resumes_the_thinking(sdk: Any) -> None:
    client = await sdk(never_end=True)
    first = await create(client, thinking_budget=10, seed=1)
    fields: Any = {"thinking_budget": 5, "anytime": {"continuation": first.anytime["continuation"]}}
    second = await create(client, **fields)
    assert second.usage.completion_tokens_details.reasoning_tokens == 5
    assert second.usage.prompt_tokens == first.usage.prompt_tokens + 10
    assert second.choices[0].message.content == "42"
    other = [{"role": "user", "content": "8-3"}]
    with pytest.raises(openai.BadRequestError) as refused:
        await create(client, messages=other, **fields)
    assert refused.value.param == "anytime.continuation"
