"""Engines that die or hang, and the end of the server's processes"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from ..e2e.native_api import REQUEST, open_streams, stream
from ..servers import ANYTIME, RealServer
from .matrix import attack
from .streams import (
    ANSWERS_LONG,
    EARLY_ANSWERS,
    GREEDY,
    LONG,
    StreamReader,
    becomes_ready,
    send_to_engine,
    text,
)

pytestmark = pytest.mark.xdist_group("attacked_server")
ENDLESS = ("--engine", "scripted", "--scripted.never-end", "true", "--scripted.seconds-per-token", "0.01")


@attack(
    done="the engine is killed during thinking, an answer and early answers",
    client="a pause, then the rest and `done`; greedy tokens and `stop` are as without the fault",
    left="another engine; `/ready` is 200 again",
)
async def test_requests_survive_a_killed_engine(
    client: httpx2.AsyncClient, attacked_server: RealServer
) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "thinking": LONG,
        "answer.delta": ANSWERS_LONG,
        "answer.started": EARLY_ANSWERS,
    }
    undisturbed = {kind: StreamReader(client, **fields) for kind, fields in kinds.items()}
    for reader in undisturbed.values():
        await reader.last()
    disturbed = {kind: StreamReader(client, **fields) for kind, fields in kinds.items()}
    sampled = StreamReader(client, budget=150, thinking={"seed": 5})
    for kind, reader in disturbed.items():
        await reader.wait_for(kind)
    send_to_engine(attacked_server, signal.SIGKILL)
    for kind, reader in disturbed.items():
        done = await reader.last()
        assert (done["type"], text(reader, "thinking")) == ("done", text(undisturbed[kind], "thinking"))
        before = undisturbed[kind].events[-1]
        assert done["stop"] == before["stop"]
        assert done["usage"]["answer_tokens"] == before["usage"]["answer_tokens"]
        assert done["answer"] == before["answer"]
    done = await sampled.last()
    assert done["stop"]["thinking_tokens"] <= 150
    await becomes_ready(client)


@attack(
    done="while a killed engine restarts: `/answer`, `DELETE`, a deadline, no reader, an answer in JSON",
    client="the cause `client`, the code `cancelled`, the cause `deadline`, nothing, the code `engine_dead`; "
    "a new request gets 503",
    left="another engine; `/ready` is 200 again",
)
@pytest.mark.nightly
async def test_controls_work_while_a_killed_engine_restarts(
    client: httpx2.AsyncClient, attacked_server: RealServer
) -> None:
    json_answer: dict[str, Any] = {"response_format": {"type": "json_object"}, "max_tokens": 300}
    # The first schema takes seconds, in which the others would end.
    first: dict[str, Any] = GREEDY | {"budget": 0, "answer": json_answer | {"max_tokens": 1}}
    await stream(client, **first)
    answered, cancelled, left = (StreamReader(client, **GREEDY) for _ in range(3))
    structured = StreamReader(client, **GREEDY, budget=0, answer=json_answer)
    for reader in (answered, cancelled, left):
        await reader.wait_for("thinking")
    await structured.wait_for("answer.delta")
    late = StreamReader(client, **GREEDY, budget={"deadline_ms": 1000})
    await late.wait_for("thinking")
    send_to_engine(attacked_server, signal.SIGKILL)
    await becomes_ready(client, ready=False)
    send_to_engine(attacked_server, signal.SIGKILL)  # the next engine, if it is starting already
    refused = await client.post("/v1/anytime", json=REQUEST)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    accepted = await client.post(f"/v1/anytime/{answered.events[0]['id']}/answer")
    assert accepted.status_code == 202
    assert (await client.delete(f"/v1/anytime/{cancelled.events[0]['id']}")).status_code == 204
    assert (await cancelled.last())["error"]["code"] == "cancelled"
    await left.disconnect()
    for reader in (answered, late):
        await reader.wait_for("answer.started")
    assert (await client.get("/ready")).status_code == 503  # the thinking ended before the engine was back
    for reader, cause in ((answered, "client"), (late, "deadline")):
        done = await reader.last()
        assert (done["type"], done["stop"]["cause"]) == ("done", cause)
        assert done["answer"]
    assert (await structured.last())["error"]["code"] == "engine_dead"
    await becomes_ready(client)


@attack(
    done="the engine is suspended for longer than `--engine-stall-s` while requests wait for tokens",
    client="a pause, then the rest and `done`",
    left="another engine; the suspended one is killed",
)
@pytest.mark.nightly
async def test_a_hanging_engine_is_replaced(client: httpx2.AsyncClient, attacked_server: RealServer) -> None:
    readers = [StreamReader(client, **LONG) for _ in range(2)]
    for reader in readers:
        await reader.wait_for("thinking")
    [hanging] = send_to_engine(attacked_server, signal.SIGSTOP)
    for reader in readers:
        assert (await reader.last())["type"] == "done"
    assert not hanging.is_running()
    await becomes_ready(client)


async def suspend_the_next_engine(server: RealServer) -> psutil.Process:
    """Kill the engine, and suspend the one that is started in its place as soon as it is there."""
    killed = send_to_engine(server, signal.SIGKILL)
    async with asyncio.timeout(30):
        while True:
            for process in server.engine_processes():
                await asyncio.sleep(0.1)  # helpers of vLLM end sooner
                with suppress(psutil.NoSuchProcess):
                    if process not in killed:
                        process.suspend()
                        return process
            await asyncio.sleep(0.01)


@attack(
    done="the engine is killed, the next one hangs while it starts; after `--engine-down-s`, SIGTERM",
    client="503 from `/ready`, then 503 from `/health`; the stream gets `error` with the code `unavailable`",
    left="nothing: the server ends with status 0, and the hanging engine with it",
)
@pytest.mark.nightly
async def test_health_fails_and_sigterm_ends_a_server_whose_engine_hangs_while_it_restarts(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--drain-s", "0", "--engine-down-s", "2")
    async with server.client() as client:
        (streamed,) = await open_streams(client, [GREEDY | {"budget": 400}])
        hanging = await suspend_the_next_engine(server)
        assert (await client.get("/ready")).status_code == 503
        async with asyncio.timeout(30):
            while (health := await client.get("/health")).status_code == 200:
                await asyncio.sleep(0.1)
        assert (health.status_code, health.json()["status"]) == (503, "stuck")
        server.process.send_signal(signal.SIGTERM)
        assert (await streamed)[-1]["error"]["code"] == "unavailable"
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=60)
    assert server.process.returncode == 0
    assert "Traceback" not in output
    assert not hanging.is_running()


@attack(
    done="the engine is killed, the next one hangs while it starts",
    client="503 from `/ready` until the engine after that is up",
    left="another engine; the one that hung is killed after three times the longest start, at least 60 s",
)
@pytest.mark.nightly
async def test_an_engine_that_hangs_while_it_restarts_is_given_up(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint))
    hanging = await suspend_the_next_engine(server)
    async with server.client() as client, asyncio.timeout(240):
        await becomes_ready(client, ready=False)
        while (await client.get("/ready")).status_code == 503:
            await asyncio.sleep(0.5)
        assert (await stream(client, budget=4))[-1]["type"] == "done"
    assert not hanging.is_running()


@attack(
    done="the engine is killed under 16 streams; the next is suspended, then the server killed (SIGKILL)",
    client="a pause, then `done`, no token over the budget; after SIGKILL the connection breaks",
    left="no process: the suspended engine ends with the server; the port is free",
)
@pytest.mark.nightly
async def test_a_suspended_engine_ends_with_its_killed_server(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint))
    host, port = server.address
    async with server.client() as client:
        streams = await open_streams(client, [{"budget": 100, "thinking": {"seed": n}} for n in range(16)])
        [first] = send_to_engine(server, signal.SIGKILL)
        for events in await asyncio.gather(*streams):
            assert [event["type"] for event in events if event["type"] in ("done", "error")] == ["done"]
            num_thinking = max((e["total_tokens"] for e in events if e["type"] == "thinking"), default=0)
            assert events[-1]["stop"]["thinking_tokens"] == num_thinking <= 100
        (streamed,) = await open_streams(client, [{}])
        [second] = send_to_engine(server, signal.SIGSTOP)
        assert second != first
        server.process.kill()
        with pytest.raises(httpx2.RequestError):
            await streamed
    # The engine holds the pipe open until it ends.
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=30)
    _, alive = psutil.wait_procs([second], timeout=10)
    assert alive == []
    with socket.create_server((host, port)):
        pass
    assert output.count("the engine is dead and is started again") == 1
    assert output.count("the engine is up again") == 1
    assert "Traceback" not in output


@attack(
    done="three SIGTERMs while a stream runs and `--drain-s` is long",
    client="after the second, `error` with the code `unavailable`",
    left="nothing: the third ends the process at once, with status 143",
)
async def test_the_third_signal_ends_the_server_at_once(start_server: Callable[..., RealServer]) -> None:
    server = start_server(*ENDLESS, "--drain-s", "300")
    async with server.client() as client:
        (streamed,) = await open_streams(client, [{}])
        server.process.send_signal(signal.SIGTERM)
        await becomes_ready(client, ready=False)
        assert not streamed.done()
        server.process.send_signal(signal.SIGTERM)
        assert (await streamed)[-1]["error"]["code"] == "unavailable"
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.process.communicate, timeout=10)
    assert server.process.returncode == 128 + signal.SIGTERM


@attack(
    done="the engine is suspended while the server starts; three SIGTERMs",
    client="",
    left="nothing: the suspended engine ends with the server",
)
@pytest.mark.nightly
async def test_three_signals_end_a_server_whose_engine_hangs_at_the_first_start(
    tiny_checkpoint: Path,
) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220
        [str(ANYTIME), "serve", "--port", "0", "--model", str(tiny_checkpoint)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    server = RealServer(url="", process=process)  # pyright: ignore[reportArgumentType]
    async with asyncio.timeout(120):
        # Not before: vLLM's import starts helpers that end by themselves.
        while not any(one.name().startswith("VLLM") for one in server.engine_processes()):
            await asyncio.sleep(0.01)
    started = server.engine_processes()
    for one in started:
        one.suspend()
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
    await asyncio.to_thread(process.wait, timeout=10)
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []


@attack(
    done="the server is suspended for longer than `--engine-stall-s` while a stream runs",
    client="a pause, then the rest and `done`",
    left="the same engine: the time does not count as its silence",
)
async def test_a_suspended_server_does_not_take_its_engine_for_dead(
    start_server: Callable[..., RealServer],
) -> None:
    server = start_server(*ENDLESS, "--engine-stall-s", "1")
    async with server.client() as client:
        (streamed,) = await open_streams(client, [{"budget": 200}])
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(3)
        server.process.send_signal(signal.SIGCONT)
        assert (await streamed)[-1]["stop"]["thinking_tokens"] == 200
        assert "anytime_engine_restarts_total 0.0" in (await client.get("/metrics")).text
    assert await asyncio.to_thread(server.stop) == 0


@attack(
    done="the engine dies while the server drains",
    client="a pause, then the rest and `done`",
    left="nothing: the server ends with status 0",
)
async def test_requests_survive_an_engine_that_dies_during_the_drain(
    start_server: Callable[..., RealServer],
) -> None:
    server = start_server(*ENDLESS, "--scripted.die-after-tokens", "2500")
    async with server.client() as client:
        streams = await open_streams(client, [{"budget": 300, "thinking": {"seed": n}} for n in range(16)])
        server.process.send_signal(signal.SIGTERM)
        results = await asyncio.gather(*streams)
    assert [events[-1]["stop"]["thinking_tokens"] for events in results] == [300] * 16
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=60)
    assert server.process.returncode == 0
    assert "the engine is dead and is started again" in output
