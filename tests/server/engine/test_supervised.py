"""The supervised engine: requests across deaths, and the engine's replacement."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from anytime_server.engine import Delta, EngineRequest, Sampling
from anytime_server.engine import supervised as supervised_module
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.resuming import remaining_request, seed_after
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.engine.supervised import SupervisedEngine
from anytime_server.errors import EngineDead, EngineFailed, UnusableModel, WeightSyncFailed
from anytime_server.text.model import Model

PROMPT = list(range(40, 70))
SCHEMA = Constraint("json_schema", "{}")


class Unloadable(ScriptedEngine):
    """Fails to load its model."""

    async def start(self) -> None:
        raise UnusableModel("there is no memory for it")


class Dying(ScriptedEngine):
    """Dies as soon as it has started."""

    @property
    def alive(self) -> bool:
        return False


class TimingOut(ScriptedEngine):
    """Its first request times out."""

    num_requests = 0

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        self.num_requests += 1
        if self.num_requests == 1:
            raise TimeoutError("the pipe to the worker")
        async for delta in super().generate(request):
            yield delta


class Loading(ScriptedEngine):
    """Never finishes loading."""

    async def start(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart collects garbage twice, which takes 0.6 s each in a process with torch."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


@pytest.fixture
async def supervised(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> AsyncGenerator[Callable[..., Any], None]:
    """Starts an engine that plays the given scripts: the next after each death, and the last repeatedly.

    A class of engines may stand for a script.
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
async def test_a_death_loses_no_token(supervised: Any, request_of: Any, die_after_tokens: int) -> None:
    engine = await supervised({"die_after_tokens": die_after_tokens}, {})
    deltas = await run(engine, request_of(seed=3))
    assert len(tokens(deltas)) == 50
    assert [delta.finish_reason for delta in deltas] == [None] * (len(deltas) - 1) + ["length"]
    assert engine.num_restarts == 1
    assert engine.load().num_requests == 0


async def test_all_requests_resume_after_a_death(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 300}, {})
    assert engine.up_since < (began_at := time.monotonic())
    results = await asyncio.gather(*(run(engine, request_of(seed=n)) for n in range(16)))
    assert [len(tokens(deltas)) for deltas in results] == [50] * 16
    assert engine.num_restarts == 1
    assert began_at < engine.up_since < time.monotonic()


async def test_the_remaining_tokens_have_another_reproducible_seed(supervised: Any, request_of: Any) -> None:
    request = request_of(seed=3)
    undisturbed = tokens(await run(await supervised({}), request))
    first, again = [
        tokens(await run(await supervised({"die_after_tokens": 21}, {}), request)) for _ in range(2)
    ]
    assert first == again
    assert first[:20] == undisturbed[:20]
    rest = remaining_request(request, first[:20])
    assert first[20:] == tokens(await run(await supervised({}), rest))


def test_the_remaining_request(request_of: Any) -> None:
    request = request_of(seed=3, max_tokens=9, min_tokens=4)
    assert remaining_request(request, []) is request
    rest = remaining_request(request, [7, 8, 9])
    assert rest.prompt_ids == [*PROMPT, 7, 8, 9]
    assert (rest.sampling.max_tokens, rest.sampling.min_tokens) == (6, 1)
    assert remaining_request(request, [7] * 5).sampling.min_tokens == 0
    assert rest.sampling.seed == seed_after(3, 3) != 3
    assert rest.id != request.id
    assert remaining_request(request_of(), [7]).sampling.seed is None


async def test_a_request_fails_after_two_deaths(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, {"die_after_tokens": 5}, {})
    with pytest.raises(EngineDead, match="2 times during this request"):
        await run(engine, request_of())
    assert len(tokens(await run(engine, request_of()))) == 50
    assert engine.num_restarts == 2


async def test_json_resumes_only_before_its_first_token(supervised: Any, request_of: Any) -> None:
    begun = await supervised({"die_after_tokens": 5}, {})
    with pytest.raises(EngineDead, match="constrained"):
        await run(begun, request_of(constraint=SCHEMA))
    not_begun = await supervised({"die_after_tokens": 1}, {})
    assert len(tokens(await run(not_begun, request_of(constraint=SCHEMA)))) == 50


async def test_silence_counts_as_death(
    supervised: Any, request_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await supervised({"first_token_s": 3600}, {}, stall_s=0.5)
    assert len(tokens(await run(engine, request_of()))) == 50
    assert engine.num_restarts == 1
    assert "the engine is silent and is started again; 1 requests wait for it" in caplog.text


async def test_a_timeout_of_the_engine_fails_only_its_request(supervised: Any, request_of: Any) -> None:
    engine = await supervised(TimingOut)
    with pytest.raises(EngineFailed, match="timed out"):
        await run(engine, request_of())
    assert engine.alive
    assert engine.num_restarts == 0
    assert len(tokens(await run(engine, request_of()))) == 50
    assert engine.num_restarts == 0


async def test_an_engine_may_be_silent_while_no_request_waits(supervised: Any, request_of: Any) -> None:
    engine = await supervised({}, stall_s=0.1)
    generator = engine.generate(request_of())
    await anext(generator)
    await asyncio.sleep(3 * supervised_module.CHECK_S)  # the consumer does not wait for a token
    assert engine.num_restarts == 0
    await generator.aclose()


async def test_a_failed_restart_is_repeated(
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
    logged = [record.getMessage().split(" after")[0] for record in caplog.records]
    assert logged == [
        "the engine is dead and is started again; 1 requests wait for it",
        *["the engine cannot be started: there is no memory for it"] * 2,
        "the engine is up again",
    ]


async def test_a_request_waits_for_a_limited_time(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, Loading, restart_wait_s=0.05)
    with pytest.raises(EngineDead, match="did not restart within"):
        await run(engine, request_of())
    with pytest.raises(EngineDead, match="did not restart within"):
        await run(engine, request_of())
    assert engine.load().num_requests == 0


async def test_a_waiting_request_can_be_cancelled(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, Loading)
    waiting = asyncio.create_task(run(engine, request_of()))
    await until(lambda: not engine.alive)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert engine.load().num_requests == 0


async def test_an_engine_that_fails_to_stop_is_replaced(supervised: Any, request_of: Any) -> None:
    class Unstoppable(ScriptedEngine):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, script=Script(never_end=True, die_after_tokens=5))

        async def stop(self) -> None:
            raise OSError("the process is gone")

    engine = await supervised(Unstoppable, {})
    assert len(tokens(await run(engine, request_of(max_tokens=9)))) == 9


async def test_a_restart_that_hangs_is_given_up_and_repeated(
    supervised: Any, request_of: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised_module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(supervised_module, "MIN_RESTART_S", 0.05)
    stopped: list[Loading] = []

    class Hanging(Loading):
        async def stop(self) -> None:
            stopped.append(self)

    engine = await supervised({"die_after_tokens": 5}, Hanging, Hanging, {})
    engine._longest_start_s = 0.1
    assert len(tokens(await run(engine, request_of()))) == 50
    assert len(stopped) == 2
    assert caplog.text.count("the engine did not start within") == 2


async def test_a_first_start_that_hangs_is_an_error(tiny_model: Model) -> None:
    build = lambda: Loading(tiny_model.tokenizer, tiny_model.reasoning)  # noqa: E731
    engine = SupervisedEngine(build, start_s=0.05)
    with pytest.raises(UnusableModel, match="did not start within"):
        await engine.start()
    await engine.stop()


async def test_an_engine_that_does_not_stop_is_left_alone(
    supervised: Any, request_of: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised_module, "STOP_S", 0.05)

    class Unending(ScriptedEngine):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, script=Script(never_end=True, die_after_tokens=5))

        async def stop(self) -> None:
            await asyncio.Event().wait()

    engine = await supervised(Unending, {})
    assert len(tokens(await run(engine, request_of(max_tokens=9)))) == 9
    assert "the engine does not stop within" in caplog.text
    forever = await supervised(Unending)
    async with asyncio.timeout(5):
        await forever.stop()


async def test_an_engine_that_is_down_for_too_long_is_stuck(
    supervised: Any, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised_module, "FIRST_PAUSE_S", 0.3)
    engine = await supervised({"die_after_tokens": 5}, Unloadable, {}, down_s=0.1)
    assert not engine.is_stuck
    running = asyncio.create_task(run(engine, request_of()))
    await until(lambda: not engine.alive)
    assert not engine.is_stuck
    await until(lambda: engine.is_stuck)
    await running
    assert not engine.is_stuck
    patient = await supervised({"die_after_tokens": 5}, Loading, restart_wait_s=0.2)
    with pytest.raises(EngineDead):
        await run(patient, request_of())
    assert not patient.is_stuck  # by default, for ten minutes at least


async def test_stop_during_a_restart_ends_waiting_requests(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"die_after_tokens": 5}, Loading)
    running = asyncio.create_task(run(engine, request_of()))
    await until(lambda: not engine.alive)
    await engine.stop()
    with pytest.raises(EngineDead, match="not running"):
        await running
    with pytest.raises(EngineDead, match="not running"):
        await run(engine, request_of())


async def test_stop_ends_requests_that_wait_for_tokens(supervised: Any, request_of: Any) -> None:
    engine = await supervised({"first_token_s": 3600})
    running = asyncio.create_task(run(engine, request_of()))
    await until(lambda: engine.load().num_requests)
    await engine.stop()
    with pytest.raises(EngineDead):
        await running


async def test_a_death_without_requests_is_noticed(supervised: Any, request_of: Any) -> None:
    engine = await supervised(Dying, {})
    await until(lambda: engine.num_restarts == 1)
    assert engine.alive


async def test_a_failed_first_start_is_an_error(tiny_model: Model) -> None:
    engine = SupervisedEngine(lambda: Unloadable(tiny_model.tokenizer, tiny_model.reasoning))
    with pytest.raises(UnusableModel, match="no memory"):
        await engine.start()
    with pytest.raises(EngineDead):
        await run(engine, EngineRequest(id="x", prompt_ids=PROMPT, sampling=Sampling(max_tokens=1)))
    await engine.stop()


async def test_weights_cannot_be_updated(supervised: Any, tmp_path: Path) -> None:
    engine = await supervised({})
    with pytest.raises(WeightSyncFailed):
        await engine.update_weights(tmp_path / "w.safetensors", sha256="", timeout_s=1)
