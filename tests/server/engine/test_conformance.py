"""Behaviour required of every engine. Each test runs on all engines."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine import Engine, EngineRequest
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.engine.transformers import TransformersEngine, TransformersOptions
from anytime_server.errors import EngineFailed, InvalidRequest
from anytime_server.text.model import Model

from .conftest import PROMPT, run, tokens


@pytest.fixture(scope="session")
async def scripted_engine(tiny_model: Model) -> AsyncGenerator[Engine, None]:
    engine = ScriptedEngine(
        tiny_model.tokenizer,
        tiny_model.reasoning,
        script=Script(never_end=True, seconds_per_token=0.001),
        window_tokens=512,
    )
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
async def smollm2_transformers_engine(smollm2_checkpoint: Path) -> AsyncGenerator[Engine, None]:
    options = TransformersOptions(dtype="float32", window_tokens=1024)
    engine = TransformersEngine(smollm2_checkpoint, options=options)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(
    params=[
        "scripted_engine",
        "transformers_engine",
        "vllm_engine",
        pytest.param("smollm2_engine", marks=pytest.mark.nightly),
        pytest.param("smollm2_transformers_engine", marks=pytest.mark.nightly),
    ]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("max_tokens", [1, 2, 31, 32, 33, 100])
async def test_max_tokens_is_exact(engine: Engine, request_of: Any, max_tokens: int) -> None:
    deltas = await run(engine, request_of(max_tokens=max_tokens, stop_ids=frozenset()))
    assert len(tokens(deltas)) == max_tokens
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == "length"


async def test_a_request_may_fill_the_window(engine: Engine, request_of: Any) -> None:
    max_tokens = engine.window_tokens - len(PROMPT)
    deltas = await run(engine, request_of(max_tokens=max_tokens, stop_ids=frozenset()))
    assert len(tokens(deltas)) == max_tokens


async def test_each_token_has_a_logprob(engine: Engine, request_of: Any) -> None:
    deltas = await run(engine, request_of(max_tokens=20))
    assert all(len(delta.logprobs) == len(delta.token_ids) for delta in deltas)
    assert all(logprob <= 0 for delta in deltas for logprob in delta.logprobs)


async def test_a_seed_reproduces_the_tokens(engine: Engine, request_of: Any) -> None:
    first, again, other = [
        tokens(await run(engine, request_of(max_tokens=40, seed=seed, stop_ids=frozenset({261, 259}))))
        for seed in (3, 3, 4)
    ]
    assert first == again
    assert first != other


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_a_longer_limit_extends_a_shorter_one(
    engine: Engine, request_of: Any, temperature: float
) -> None:
    short = tokens(await run(engine, request_of(max_tokens=10, temperature=temperature)))
    long = tokens(await run(engine, request_of(max_tokens=30, temperature=temperature)))
    assert long[: len(short)] == short


async def test_a_stop_token_ends_the_request_and_is_delivered(engine: Engine, request_of: Any) -> None:
    free = tokens(await run(engine, request_of(max_tokens=40)))
    stop_id = free[20]
    first = free.index(stop_id)
    deltas = await run(
        engine,
        request_of(max_tokens=40, stop_ids=frozenset({stop_id}) | request_of(max_tokens=1).sampling.stop_ids),
    )
    assert tokens(deltas) == free[: first + 1]
    assert deltas[-1].finish_reason == "stop"


async def test_a_stop_on_the_last_token_is_a_stop(engine: Engine, request_of: Any) -> None:
    free = tokens(await run(engine, request_of(max_tokens=40)))
    stop_id = free[20]
    first = free.index(stop_id)
    stop_ids = frozenset({stop_id}) | request_of(max_tokens=1).sampling.stop_ids
    deltas = await run(engine, request_of(max_tokens=first + 1, stop_ids=stop_ids))
    assert deltas[-1].finish_reason == "stop"


async def test_banned_ids_are_not_sampled(engine: Engine, request_of: Any, tiny_model: Model) -> None:
    answer = {"max_tokens": 5, "temperature": 0.0, "stop_ids": tiny_model.reasoning.eos_ids}
    first_id = tokens(await run(engine, request_of(**answer)))[0]
    others = tokens(await run(engine, request_of(**answer, banned_ids=frozenset({first_id}))))
    assert others
    assert first_id not in others


@pytest.mark.parametrize("seed", [-1, 0, -(2**63), 2**63 - 1])
async def test_extreme_seeds_reproduce_the_tokens(engine: Engine, request_of: Any, seed: int) -> None:
    first, again = [tokens(await run(engine, request_of(max_tokens=20, seed=seed))) for _ in range(2)]
    assert first == again


async def test_prefixes_are_cached(engine: Engine, request_of: Any) -> None:
    """Computed tokens are found in engines with a cache; on vLLM, full blocks of them."""
    thinking = tokens(await run(engine, request_of(max_tokens=50, seed=11)))
    prompt_ids = [*PROMPT, *thinking, 65, 66]
    deltas = await run(engine, request_of(prompt_ids=prompt_ids, max_tokens=3))
    computed = len(PROMPT) + len(thinking) - 1  # the last sampled token was not fed back
    expected = {"VllmEngine": computed // 32 * 32, "TransformersEngine": computed}
    assert deltas[0].cached_tokens == expected.get(type(engine).__name__, 0)


async def test_prefixes_are_cached_for_each_salt(engine: Engine, request_of: Any) -> None:
    """Also when the requests come at the same time; resumed and repeated requests keep their salt."""
    prompt_ids = [3, 1, 4, 1, 5, *PROMPT]

    def salted(salt: str) -> EngineRequest:
        return dataclasses.replace(request_of(prompt_ids=prompt_ids, max_tokens=2), cache_salt=salt)

    async def cached(*salts: str) -> list[int]:
        return [one.cached_tokens for one in await engine.generate_all([salted(salt) for salt in salts])]

    found = len(prompt_ids) // 32 * 32 if type(engine).__name__ == "VllmEngine" else len(prompt_ids) - 1
    expected = 0 if isinstance(engine, ScriptedEngine) else found
    assert await cached("a", "b", "") == [0, 0, 0]
    assert await cached("a") == [expected]
    assert await cached("c") == [0]
    assert await cached("b", "") == [expected, expected]


async def test_closing_the_generator_aborts(engine: Engine, request_of: Any) -> None:
    async with aclosing(engine.generate(request_of(max_tokens=400, stop_ids=frozenset({261})))) as deltas:
        async for _ in deltas:
            assert engine.load().num_requests == 1
            break
    assert engine.load().num_requests == 0


async def test_cancelling_the_task_aborts(engine: Engine, request_of: Any) -> None:
    running = asyncio.create_task(run(engine, request_of(max_tokens=400)))
    while engine.load().num_requests == 0:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert engine.load().num_requests == 0


async def test_many_long_seeded_prompts_at_once(engine: Engine, request_of: Any) -> None:
    """More than one step can prefill. Chunked prefill with a seed kills vLLM's CPU runner."""
    results = await asyncio.gather(
        *(
            run(engine, request_of(prompt_ids=[number, *range(256), *range(140)], max_tokens=2, seed=number))
            for number in range(40)
        )
    )
    assert all(1 <= len(tokens(deltas)) <= 2 for deltas in results)
    assert engine.alive


@pytest.mark.parametrize("length", [1, 4, 5])
async def test_a_tiny_prompt_is_served_or_refused(engine: Engine, request_of: Any, length: int) -> None:
    """And never kills the engine."""
    try:
        deltas = await run(engine, request_of(prompt_ids=PROMPT[:length], max_tokens=3))
        assert 1 <= len(tokens(deltas)) <= 3
    except EngineFailed:
        assert length < 5
    assert engine.alive


async def test_many_at_once(engine: Engine, request_of: Any) -> None:
    lengths = list(range(1, 41))
    results = await asyncio.gather(
        *(run(engine, request_of(max_tokens=n, seed=n, stop_ids=frozenset({261}))) for n in lengths)
    )
    for n, deltas in zip(lengths, results, strict=True):
        assert len(tokens(deltas)) == n or tokens(deltas)[-1] == 261
    assert engine.load().num_requests == 0


async def test_a_batch_is_in_order_and_reproducible(engine: Engine, request_of: Any) -> None:
    def requests() -> list[EngineRequest]:
        return [request_of(max_tokens=n, seed=n, stop_ids=frozenset({261})) for n in range(1, 21)]

    await engine.generate_all(requests())  # so that both rounds have the same prefix cache
    first, again = [await engine.generate_all(requests()) for _ in range(2)]
    assert first == again
    for n, generation in zip(range(1, 21), first, strict=True):
        assert len(generation.token_ids) == n or generation.token_ids[-1] == 261
        assert len(generation.logprobs) == len(generation.token_ids)
        assert generation.finish_reason == ("stop" if generation.token_ids[-1] == 261 else "length")
    streamed = await run(engine, request_of(max_tokens=20, seed=20, stop_ids=frozenset({261})))
    assert list(first[-1].token_ids) == tokens(streamed)
    assert await engine.generate_all([]) == []
    assert engine.load().num_requests == 0


async def test_a_batch_can_be_cancelled(engine: Engine, request_of: Any) -> None:
    requests = [request_of(max_tokens=400, stop_ids=frozenset({261})) for _ in range(5)]
    running = asyncio.create_task(engine.generate_all(requests))
    while engine.load().num_requests == 0:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    while engine.load().num_requests:
        await asyncio.sleep(0.01)
    [one] = await engine.generate_all([request_of(max_tokens=3)])
    assert 1 <= len(one.token_ids) <= 3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_the_number_of_top_logprobs_is_exact(
    engine: Engine, request_of: Any, temperature: float
) -> None:
    options = {"max_tokens": 12, "temperature": temperature, "stop_ids": frozenset({261, 259})}
    few, many, none = await asyncio.gather(
        *(run(engine, request_of(**options, top_logprobs=num)) for num in (1, 20, 0))
    )
    assert tokens(few) == tokens(many) == tokens(none)
    assert not any(delta.top_logprobs for delta in none)
    for deltas, num in ((few, 1), (many, 20)):
        logprobs = [logprob for delta in deltas for logprob in delta.logprobs]
        tops = [top for delta in deltas for top in delta.top_logprobs]
        assert len(tops) == len(logprobs)
        for token_id, logprob, top in zip(tokens(deltas), logprobs, tops, strict=True):
            assert len({i for i, _ in top}) == len(top) == num
            assert [p for _, p in top] == sorted((p for _, p in top), reverse=True)
            assert sum(math.exp(p) for _, p in top) <= 1 + 1e-3
            if temperature == 0:
                assert top[0][0] == token_id
            assert dict(top).get(token_id, logprob) == pytest.approx(logprob, abs=1e-4)
            assert token_id in dict(top) or logprob <= top[-1][1]


@pytest.mark.parametrize("bad", ["{", "[]", "true", '"object"', "3", "[" * 100_000])
async def test_malformed_json_schemas_are_refused(engine: Engine, bad: str) -> None:
    with pytest.raises(InvalidRequest, match="JSON schema"):
        await engine.enforced(Constraint("json_schema", bad))
