"""How a server begins and ends, and its engine with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from ..servers import ANYTIME, RealServer
from .asking import QUESTION, begin_request, open_streams, stream


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


async def test_a_dead_engine_is_replaced_and_the_next_ends_with_its_server(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint))
    [first] = server.engine_processes()
    host, port = server.url.removeprefix("http://").split(":")
    greedy, sampled = {"temperature": 0.0}, {"temperature": 1.0, "seed": 1}
    requests = [{"budget": 100, "thinking": greedy if number % 2 else sampled} for number in range(16)]
    async with server.client() as client:
        undisturbed = await stream(client, budget=100, thinking=greedy)
        streams = await open_streams(client, requests)
        first.kill()
        for said, request in zip(await asyncio.gather(*streams), requests, strict=True):
            assert [event["type"] for event in said if event["type"] in ("done", "error")] == ["done"]
            num_thinking = max((e["total_tokens"] for e in said if e["type"] == "thinking"), default=0)
            assert said[-1]["stop"]["thinking_tokens"] == num_thinking <= 100
            if request["thinking"] is greedy:
                assert thinking(said) == thinking(undisturbed)
        [second] = server.engine_processes()
        assert second != first
        (streamed,) = await open_streams(client, [{}])
        server.process.kill()
        with pytest.raises(httpx2.RequestError):
            await streamed
    await asyncio.to_thread(server.process.wait, timeout=30)
    with socket.create_server((host, int(port))):
        pass
    said, _ = await asyncio.to_thread(server.process.communicate, timeout=30)  # which ends with the engine
    _, alive = psutil.wait_procs([second], timeout=10)
    assert alive == []
    assert said.count("the engine is dead and is started again") == 1
    assert said.count("the engine is up again") == 1
    assert "Traceback" not in said


def thinking(said: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in said if event["type"] == "thinking")


async def test_told_to_stop_while_its_engine_is_started_again(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--drain-s", "0")
    async with server.client() as client:
        (streamed,) = await open_streams(client, [{"budget": 400}])
        [engine] = server.engine_processes()
        engine.kill()
        async with asyncio.timeout(10):
            while engine in (engines := server.engine_processes()) or not engines:
                await asyncio.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert (await streamed)[-1]["error"]["message"] == "the server stops"
    said, _ = await asyncio.to_thread(server.process.communicate, timeout=60)
    assert server.process.returncode == 0
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(engines, timeout=10)
    assert alive == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_stops_cleanly(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path, number: signal.Signals, status: int
) -> None:
    server = start_server("--model", str(tiny_checkpoint))
    engine = server.engine_processes()
    server.process.send_signal(number)
    said, _ = await asyncio.to_thread(server.process.communicate, timeout=30)
    assert server.process.returncode == status
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(engine, timeout=10)
    assert alive == []


async def test_told_to_stop_it_lets_streams_end_or_says_why(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--drain-s", "1")
    async with server.client() as client:
        # Many, so that not all are done within the second.
        long = [{"thinking": {"seed": seed}} for seed in range(64)]
        streams = await open_streams(client, [{"budget": 20}, *long])
        server.process.send_signal(signal.SIGTERM)
        results = await asyncio.gather(*streams)
    for said in results:
        assert [event["type"] for event in said if event["type"] in ("done", "error")] == [said[-1]["type"]]
    errors = [said[-1]["error"] for said in results if said[-1]["type"] == "error"]
    assert all(error["message"] == "the server stops" for error in errors)
    causes = [said[-1]["stop"]["cause"] for said in results if said[-1]["type"] == "done"]
    assert errors or "deadline" in causes  # told to answer near the end, or too slow for that
    assert await asyncio.to_thread(server.stop) == 0


async def test_interrupted_from_a_terminal_it_lets_streams_end(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    """There the whole process group gets the signal, and the engine must not heed it."""
    server = start_server("--model", str(tiny_checkpoint), own_group=True)
    async with server.client() as client:
        streams = await open_streams(client, [{"budget": 200, "thinking": {"seed": n}} for n in range(16)])
        os.killpg(server.process.pid, signal.SIGINT)
        results = await asyncio.gather(*streams)
    assert [said[-1]["type"] for said in results] == ["done"] * 16
    said, _ = await asyncio.to_thread(server.process.communicate, timeout=30)
    assert server.process.returncode == 130
    assert "Traceback" not in said


async def test_told_to_stop_it_does_not_wait_for_a_request_that_never_comes(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--engine", "scripted", "--drain-s", "300")
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await begin_request(host, int(port))
    await asyncio.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    said, _ = await asyncio.to_thread(server.process.communicate, timeout=60)
    assert server.process.returncode == 0
    assert "Stopping." in said
    assert "Traceback" not in said
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_it_stops_also_where_nobody_reads_its_output(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--engine", "scripted")
    assert server.process.stdout is not None
    server.process.stdout.close()
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_twice_it_ends_streams_at_once_but_says_so(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path, number: signal.Signals
) -> None:
    endless = ("--scripted.never-end", "true", "--scripted.seconds-per-token", "0.01")
    server = start_server("--model", str(tiny_checkpoint), "--engine", "scripted", *endless)
    async with server.client() as client, asyncio.timeout(20):
        streamed = asyncio.create_task(stream(client))
        whole = asyncio.create_task(
            client.post("/v1/chat/completions", json=QUESTION | {"model": "tiny"}),
        )
        while "anytime_engine_requests 2.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.02)
        server.process.send_signal(number)
        async with server.client() as newcomer:
            while (ready := await newcomer.get("/ready")).status_code == 200:
                await asyncio.sleep(0.02)
            assert ready.json()["reason"] == "the server is draining"
            turned_away = await newcomer.post("/v1/anytime", json=QUESTION)
            assert (turned_away.status_code, turned_away.json()["error"]["code"]) == (503, "unavailable")
        assert not streamed.done()
        server.process.send_signal(number)
        assert (await streamed)[-1]["error"]["code"] == "unavailable"
        refused = await whole
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    said, _ = await asyncio.to_thread(server.process.communicate, timeout=20)
    assert "requests under way (2)" in said
    assert "Traceback" not in said


async def test_told_to_stop_while_loading(tiny_checkpoint: Path) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(ANYTIME),
        *("serve", "--model", str(tiny_checkpoint), "--port", str(port)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client, asyncio.timeout(60):
        while True:
            try:
                assert (await client.get("/health")).status_code == 200
                break
            except httpx2.ConnectError:
                await asyncio.sleep(0.05)
        ready = await client.get("/ready")
    assert (ready.status_code, ready.json()["reason"]) == (503, "the model is loading")
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    said, _ = await asyncio.wait_for(process.communicate(), timeout=60)
    assert process.returncode == 0, said
    assert b"Traceback" not in said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


async def test_a_model_that_cannot_be_loaded_ends_the_server(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """And it waits for nobody: here for a request that does not fully come."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "broken"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["NoSuchModel"]}))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(ANYTIME),
        *("serve", "--model", str(folder), "--port", str(port), "--drain-s", "300"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"Loading ")  # and it listens
    _, writer = await begin_request("127.0.0.1", port)
    _, complaint = await asyncio.wait_for(process.communicate(), timeout=120)
    writer.close()
    assert process.returncode == 1
    assert b"anytime serve: vLLM cannot load" in complaint
    assert b"NoSuchModel" in complaint
    assert b"Traceback" not in complaint
