"""Several choices of one chat completion, and llama.cpp's control that ends their thinking."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import openai
import pytest
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.errors import EngineFailed

from .test_chat import MESSAGES, create

BODY: dict[str, Any] = {"model": "tiny", "messages": MESSAGES}
CONTROL = "/v1/chat/completions/control"


async def test_choices_are_requests_with_consecutive_seeds(sdk: Any) -> None:
    client = await sdk(never_end=True)
    alone = [await create(client, seed=seed, thinking_budget=9) for seed in (4, 5, 6)]
    whole = await create(client, seed=4, thinking_budget=9, n=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert [c.message.reasoning_content for c in whole.choices] == [
        c.choices[0].message.reasoning_content for c in alone
    ]
    assert len({choice.message.reasoning_content for choice in whole.choices}) == 3
    assert whole.usage.prompt_tokens == alone[0].usage.prompt_tokens
    assert whole.usage.completion_tokens == sum(completion.usage.completion_tokens for completion in alone)
    assert whole.usage.completion_tokens_details.reasoning_tokens == 27
    assert whole.anytime == whole.choices[0].anytime
    assert all(choice.anytime["stop"] == alone[0].anytime["stop"] for choice in whole.choices)


async def test_seed_after_the_largest_wraps_around(sdk: Any) -> None:
    client = await sdk()
    assert len((await create(client, seed=2**63 - 1, n=2)).choices) == 2


async def test_stream_equals_the_whole_completion(sdk: Any) -> None:
    client = await sdk(never_end=True, seconds_per_token=0.002)
    fields = {"seed": 4, "thinking_budget": 9, "n": 3}
    whole = await create(client, **fields)
    options = {"include_usage": True}
    chunks = [chunk async for chunk in await create(client, **fields, stream=True, stream_options=options)]
    *content, usage = chunks
    for index, choice in enumerate(whole.choices):
        own = [c.choices[0] for c in content if c.choices[0].index == index]
        assert "".join(c.delta.reasoning_content or "" for c in own) == choice.message.reasoning_content
        assert "".join(c.delta.content or "" for c in own) == choice.message.content
        assert [c.finish_reason for c in own] == [None] * (len(own) - 1) + ["stop"]
        assert own[-1].anytime["stop"] == choice.anytime["stop"]
    order = [chunk.choices[0].index for chunk in content]
    assert len(list(itertools.groupby(order))) > 3, "the choices are not interleaved"
    assert usage.usage == whole.usage
    [final] = [chunk for chunk in content if hasattr(chunk, "anytime")]
    assert final.choices[0].index == 0
    assert len({chunk.id for chunk in chunks}) == 1
    assert len({chunk.created for chunk in chunks}) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_failing_choice_ends_the_request(
    served: Any, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    generate, numbers = ScriptedEngine.generate, itertools.count()

    async def fail_second(engine: ScriptedEngine, request: Any) -> Any:
        fails = next(numbers) == 1
        async for delta in generate(engine, request):
            yield delta
            if fails:
                raise EngineFailed("this request fails")

    server = await served(never_end=True, seconds_per_token=0.05)
    monkeypatch.setattr(ScriptedEngine, "generate", fail_second)
    response = await server.http.post("/v1/chat/completions", json=BODY | {"n": 3, "stream": stream})
    if stream:
        assert response.status_code == 200
        assert response.text.count('"error"') == 1
        assert '"code":"engine_failed"' in response.text.strip().split("\n")[-1]
    else:
        assert (response.status_code, response.json()["error"]["code"]) == (500, "engine_failed")
    await server.idle()


async def test_without_room_for_all_choices_none_is_opened(served: Any) -> None:
    server = await served(max_num_seqs=2, options={"max_waiting": 0})
    opened = []
    server.scheduler.active.observers.append(opened.append)
    response = await server.http.post("/v1/chat/completions", json=BODY | {"n": 3})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
    assert (await server.http.post("/v1/chat/completions", json=BODY | {"n": 2})).status_code == 200
    assert len(opened) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_disconnected_client_ends_all_choices(served: Any, stream: bool) -> None:
    server = await served(never_end=True, seconds_per_token=0.05)

    async def request() -> None:
        body = BODY | {"n": 3, "stream": stream}
        async with server.http.stream("POST", "/v1/chat/completions", json=body) as response:
            await response.aread()

    pending = asyncio.create_task(request())
    while server.scheduler.engine.load().num_requests < 3:
        await asyncio.sleep(0.01)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    await server.idle()
    assert len(server.scheduler.active) == 0


async def test_keep_alive_comments_are_sent(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anytime_server.api.sse.KEEP_ALIVE_S", 0.02)
    server = await served(first_token_s=0.1)
    for n in (1, 2):
        response = await server.http.post("/v1/chat/completions", json=BODY | {"n": n, "stream": True})
        assert response.text.index(": ping") < response.text.index("reasoning_content")


async def test_keep_alive_comments_are_sent_while_thinking_is_excluded(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anytime_server.api.sse.KEEP_ALIVE_S", 0.02)
    server = await served(never_end=True, seconds_per_token=0.01)
    fields = {"n": 2, "stream": True, "include_reasoning": False, "thinking_budget": 20}
    response = await server.http.post("/v1/chat/completions", json=BODY | fields)
    assert response.text.count(": ping") > 1


@pytest.mark.parametrize("n", [1, 3])
async def test_control_ends_the_thinking(served: Any, n: int) -> None:
    server = await served(never_end=True, seconds_per_token=0.02, answer="x" * 11)
    client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    responses: list[Any] = []
    finished: list[Any] = []
    async for chunk in await create(client, n=n, stream=True, reasoning_control=True):
        if not responses and chunk.choices[0].delta.reasoning_content:
            body = {"id": chunk.id, "action": "reasoning_end"}
            responses = await asyncio.gather(*(server.http.post(CONTROL, json=body) for _ in range(2)))
        if chunk.choices[0].finish_reason:
            finished.append(chunk)
    await client.close()
    assert [response.status_code for response in responses] == [200, 200]
    assert sorted((response.json() for response in responses), key=len) == [
        {"success": True},
        {"success": False, "message": "the completion is answering already"},
    ]
    if n == 1:
        assert finished[0].anytime["stop"]["cause"] == "client"
    else:
        assert [chunk.choices[0].anytime["stop"]["cause"] for chunk in finished] == ["client"] * n
    late = await server.http.post(CONTROL, json={"id": finished[0].id, "action": "reasoning_end"})
    assert late.json() == {"success": False, "message": "no active completion for this id"}


async def test_control_can_be_disabled(sdk: Any) -> None:
    client = await sdk(never_end=True, seconds_per_token=0.01)
    response: Any = None
    async for chunk in await create(client, stream=True, thinking_budget=5, reasoning_control=False):
        if response is None:
            body = {"id": chunk.id, "action": "reasoning_end"}
            response = await client.post("/chat/completions/control", body=body, cast_to=object)
    assert response == {"success": False, "message": "reasoning control not enabled for this completion"}


async def test_invalid_controls_are_refused(served: Any) -> None:
    server = await served()
    unknown = await server.http.post(CONTROL, json={"id": "chatcmpl-nobody", "action": "reasoning_end"})
    assert unknown.status_code == 200
    assert unknown.json() == {"success": False, "message": "no active completion for this id"}
    for param, body in [
        ("action", {"id": "chatcmpl-nobody", "action": "reboot"}),
        ("id", {"action": "reasoning_end"}),
        ("id", {"id": "", "action": "reasoning_end"}),
    ]:
        refused = await server.http.post(CONTROL, json=body)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == param
