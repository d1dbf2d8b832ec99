"""An engine that comes back: what its requests notice, and what they do not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from anytime_server.engine import Delta, EngineRequest, Sampling
from anytime_server.engine import supervised as supervised_module
from anytime_server.engine.resuming import rest_of, seed_after
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.engine.supervised import SupervisedEngine
from anytime_server.errors import EngineDead, UnusableModel, WeightSyncFailed
from anytime_server.text.model import Model

PROMPT = list(range(40, 70))
SCHEMA = '{"type": "object"}'


class Unloadable(ScriptedEngine):
    """Its model cannot be loaded."""

    async def start(self) -> None:
        raise UnusableModel("there is no memory for it")


class Loading(ScriptedEngine):
    """It takes for ever to load."""

    async def start(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
async def supervised(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> AsyncGenerator[Callable[..., Any], None]:
    """Starts an engine that plays the given scripts, one after each death, and the last again and again.

    In place of a script may stand a class of engines.
    """
    started: list[SupervisedEngine] = []

    async def start(*scripts: Any, **options: Any) -> SupervisedEngine:
        left = list(scripts)

        def build() -> ScriptedEngine:
            script = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(script, dict):
                return scripted(never_end=True, **script)
            return script(tiny_model.tokenizer, tiny_model.reasoning)

        engine = SupervisedEngine(build, **options)
        await engine.start()
        started.append(engine)
        return engine

    yield start
    for engine in started:
        await engine.stop()


@pytest.fixture
def request_of(tiny_model: Model) -> Callable[..., EngineRequest]:
    def make(**sampling: Any) -> EngineRequest:
        sampling = {"max_tokens": 50, "stop_ids": tiny_model.reasoning.thinking_stop_ids} | sampling
        return EngineRequest(id=uuid4().hex, prompt_ids=PROMPT, sampling=Sampling(**sampling))

    return make


async def run(engine: SupervisedEngine, request: EngineRequest) -> list[Delta]:
    return [delta async for delta in engine.generate(request)]


def tokens(deltas: list[Delta]) -> list[int]:
    return [token_id for delta in deltas for token_id in delta.token_ids]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("die_after_tokens", [1, 2, 20, 49, 50])
async def test_a_death_costs_no_token(supervised: Any, request_of: Any, die_after_tokens: int) -> None:
    engine = await supervised({"die_after_tokens": die_after_tokens}, {})
    deltas = await run(engine, request_of(seed=3))
    assert len(tokens(deltas)) == 50
    assert [delta.finish_reason for delta in deltas] == [None] * (len(deltas) - 1) + ["length"]
    assert engine.num_restarts == 1
    assert engine.load().num_requests == 0


async def test_all_of_many_go_on_after_one_death(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 300}, {})
    everyone = await asyncio.gather(*(run(engine, request_of(seed=n)) for n in range(16)))
    assert [len(tokens(deltas)) for deltas in everyone] == [50] * 16
    assert engine.num_restarts == 1


async def test_what_is_left_is_drawn_from_another_seed_and_the_same_each_time(
    supervised: Any, request_of: Any
) -> None:
    request = request_of(seed=3)
    undisturbed = tokens(await run(await supervised({}), request))
    first, again = [
        tokens(await run(await supervised({"die_after_tokens": 21}, {}), request)) for _ in range(2)
    ]
    assert first == again
    assert first[:20] == undisturbed[:20]
    rest = rest_of(request, first[:20])
    assert first[20:] == tokens(await run(await supervised({}), rest))


def test_what_is_left_of_a_request(request_of: Any) -> None:
    request = request_of(seed=3, max_tokens=9, min_tokens=4)
    assert rest_of(request, []) is request
    rest = rest_of(request, [7, 8, 9])
    assert rest.prompt_ids == [*PROMPT, 7, 8, 9]
    assert (rest.sampling.max_tokens, rest.sampling.min_tokens) == (6, 1)
    assert rest_of(request, [7] * 5).sampling.min_tokens == 0
    assert rest.sampling.seed == seed_after(3, 3) != 3
    assert rest.id != request.id
    assert rest_of(request_of(), [7]).sampling.seed is None


async def test_a_request_that_sees_two_deaths_ends(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, {"die_after_tokens": 5}, {})
    with pytest.raises(EngineDead, match="2 times while it had this request"):
        await run(engine, request_of())
    assert len(tokens(await run(engine, request_of()))) == 50
    assert engine.num_restarts == 2


async def test_json_goes_on_only_where_none_was_delivered(supervised: Any, request_of: Any) -> None:
    begun = await supervised({"die_after_tokens": 5}, {})
    with pytest.raises(EngineDead, match="JSON"):
        await run(begun, request_of(json_schema=SCHEMA))
    not_begun = await supervised({"die_after_tokens": 1}, {})
    assert len(tokens(await run(not_begun, request_of(json_schema=SCHEMA)))) == 50


async def test_silence_counts_as_death(
    supervised: Any, request_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await supervised({"first_token_s": 3600}, {}, stall_s=0.5)
    assert len(tokens(await run(engine, request_of()))) == 50
    assert engine.num_restarts == 1
    assert "the engine is silent and is started again; requests wait for it: 1" in caplog.text


async def test_an_engine_that_nobody_asks_may_be_silent(supervised: Any, request_of: Any) -> None:
    engine = await supervised({}, stall_s=0.1)
    generator = engine.generate(request_of())
    await anext(generator)
    await asyncio.sleep(3 * supervised_module.CHECK_S)  # whoever asked does not listen
    assert engine.num_restarts == 0
    await generator.aclose()


async def test_it_is_built_until_it_can_be(
    supervised: Any, request_of: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised_module, "FIRST_PAUSE_S", 0.05)
    caplog.set_level(logging.WARNING)
    engine = await supervised({"die_after_tokens": 5}, Unloadable, Unloadable, {})
    running = asyncio.create_task(run(engine, request_of()))
    await until(lambda: "cannot be started" in caplog.text)
    assert not engine.alive
    assert engine.window_tokens == 512
    assert engine.load().num_requests == 1
    assert len(tokens(await running)) == 50
    assert engine.alive
    assert engine.num_restarts == 1
    said = [record.getMessage().split(" after")[0] for record in caplog.records]
    assert said == [
        "the engine is dead and is started again; requests wait for it: 1",
        *["the engine cannot be started: there is no memory for it"] * 2,
        "the engine is up again",
    ]


async def test_a_request_does_not_wait_for_ever(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, Loading, restart_wait_s=0.05)
    with pytest.raises(EngineDead, match="not up again within"):
        await run(engine, request_of())
    with pytest.raises(EngineDead, match="not up again within"):
        await run(engine, request_of())
    assert engine.load().num_requests == 0


async def test_while_it_waits_a_request_can_be_aborted_or_dropped(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, Loading)
    aborted, dropped = request_of(), request_of()
    waiting = [asyncio.create_task(run(engine, request)) for request in (aborted, dropped)]
    await until(lambda: not engine.alive)
    await engine.abort(aborted.id)
    assert (await waiting[0])[-1].finish_reason == "abort"
    waiting[1].cancel()
    await asyncio.wait(waiting)
    assert engine.load().num_requests == 0


async def test_what_was_gone_on_with_can_be_aborted(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, {"seconds_per_token": 0.01})
    request = request_of(max_tokens=400)
    running = asyncio.create_task(run(engine, request))
    await until(lambda: engine.num_restarts == 1)
    await engine.abort(request.id)
    deltas = await running
    assert deltas[-1].finish_reason == "abort"
    assert 4 <= len(tokens(deltas)) < 400


async def test_one_that_has_tokens_can_be_aborted(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"seconds_per_token": 0.002})
    request = request_of(max_tokens=400)
    deltas = engine.generate(request)
    for _ in range(3):
        await anext(deltas)
    await engine.abort(request.id)
    *_, last = [delta async for delta in deltas]
    assert last.finish_reason == "abort"


async def test_one_that_cannot_be_stopped_is_replaced_all_the_same(supervised: Any, request_of: Any) -> None:
    class Stubborn(ScriptedEngine):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, script=Script(never_end=True, die_after_tokens=5))

        async def stop(self) -> None:
            raise OSError("it is not there any more")

    engine = await supervised(Stubborn, {})
    assert len(tokens(await run(engine, request_of(max_tokens=9)))) == 9


async def test_stopped_while_it_is_built_it_ends_those_that_wait(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, Loading)
    running = asyncio.create_task(run(engine, request_of()))
    await until(lambda: not engine.alive)
    await engine.stop()
    with pytest.raises(EngineDead, match="not running"):
        await running
    with pytest.raises(EngineDead, match="not running"):
        await run(engine, request_of())


async def test_stopped_it_ends_those_that_wait_for_tokens(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"first_token_s": 3600})
    running = asyncio.create_task(run(engine, request_of()))
    await until(lambda: engine.load().num_requests)
    await engine.stop()
    with pytest.raises(EngineDead):
        await running


async def test_a_death_while_nobody_asks_is_seen(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, {})
    await engine._engine.stop()
    await until(lambda: engine.num_restarts == 1)
    assert engine.alive


async def test_a_model_that_cannot_be_loaded_at_first_is_an_error(tiny_model: Model) -> None:
    engine = SupervisedEngine(lambda: Unloadable(tiny_model.tokenizer, tiny_model.reasoning))
    with pytest.raises(UnusableModel, match="no memory"):
        await engine.start()
    with pytest.raises(EngineDead):
        await run(engine, EngineRequest(id="x", prompt_ids=PROMPT, sampling=Sampling(max_tokens=1)))
    await engine.stop()


async def test_it_takes_no_other_weights(supervised: Any, tmp_path: Path) -> None:
    engine = await supervised({})
    with pytest.raises(WeightSyncFailed):
        await engine.update_weights(tmp_path / "w.safetensors", sha256="", timeout_s=1)
