"""The promises, over HTTP, on real vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
import pytest

from .conftest import ANYTIME, RealServer

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "7-3"}]}
BLOCK_TOKENS = 32


async def think(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/anytime", json=QUESTION | fields | {"stream": False})
    assert response.status_code == 200, response.text
    return response.json()


async def stream(
    client: httpx2.AsyncClient, *, opened: asyncio.Semaphore | None = None, **fields: Any
) -> list[dict[str, Any]]:
    """All events of a stream; `opened` is released when it has been admitted."""
    async with client.stream("POST", "/v1/anytime", json=QUESTION | fields) as response:
        assert response.status_code == 200, await response.aread()
        if opened is not None:
            opened.release()
        lines = [line async for line in response.aiter_lines()]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


async def open_streams(
    client: httpx2.AsyncClient, requests: list[dict[str, Any]]
) -> list[asyncio.Task[list[dict[str, Any]]]]:
    """Begin streams, and wait until each has been admitted."""
    opened = asyncio.Semaphore(0)
    streams = [asyncio.create_task(stream(client, opened=opened, **fields)) for fields in requests]
    async with asyncio.timeout(30):
        for _ in streams:
            await opened.acquire()
    return streams


async def engine_is_idle(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(5):
        while "anytime_engine_requests 0.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.05)


async def test_every_budget_is_exact_and_answered(real_server: RealServer) -> None:
    room = asyncio.Semaphore(16)
    async with real_server.client() as client:

        async def one(budget: int) -> dict[str, Any]:
            async with room:
                return await think(client, budget=budget, thinking={"seed": budget})

        bodies = await asyncio.gather(*(one(budget) for budget in range(301)))
    causes = set()
    for budget, body in enumerate(bodies):
        stop = body["stop"]
        causes.add(stop["cause"])
        assert stop["thinking_tokens"] <= budget
        if stop["cause"] == "budget":
            assert stop["thinking_tokens"] == budget
        else:
            assert stop["cause"] == "natural"
        assert body["answer"].strip()
        assert body["usage"]["thinking_tokens"] == stop["thinking_tokens"]
        assert 1 <= body["usage"]["answer_tokens"] <= 12
    assert causes == {"budget", "natural"}


async def test_seed_repeats(real_server: RealServer) -> None:
    async with real_server.client() as client:
        first, again, other = [await think(client, budget=40, thinking={"seed": seed}) for seed in (1, 1, 2)]
    assert (first["thinking"], first["answer"]) == (again["thinking"], again["answer"])
    assert first["thinking"] != other["thinking"]


@pytest.mark.parametrize("budget", [1, 20, 57, 58, 100, 250])
async def test_answer_finds_prompt_and_thinking_in_the_cache(real_server: RealServer, budget: int) -> None:
    async with real_server.client() as client:
        body = await think(client, budget=budget, thinking={"seed": 7 + budget})
    # The last thinking token was sampled but never computed on, so it is in no block yet.
    computed = body["usage"]["prompt_tokens"] + body["usage"]["thinking_tokens"] - 1
    assert body["usage"]["cached_tokens"] >= computed // BLOCK_TOKENS * BLOCK_TOKENS


async def test_many_streams_with_random_budgets_each_end_in_one_done(real_server: RealServer) -> None:
    draw = random.Random(0)
    budgets = [draw.randint(0, 300) for _ in range(64)]
    async with real_server.client() as client:
        results = await asyncio.gather(*(stream(client, budget=budget) for budget in budgets))
        await engine_is_idle(client)
    for budget, said in zip(budgets, results, strict=True):
        assert [event["type"] for event in said if event["type"] in ("done", "error")] == ["done"]
        assert said[-1]["stop"]["thinking_tokens"] <= budget
        assert said[-1]["answer"].strip()


async def test_deadline_cuts_the_thinking(real_server: RealServer) -> None:
    async with real_server.client() as client:
        body = await think(client, budget={"deadline_ms": 600}, thinking={"seed": 5})
    assert body["stop"]["cause"] == "deadline"
    assert 0 < body["stop"]["thinking_tokens"] < 400
    assert body["answer"].strip()


@pytest.mark.parametrize("num_events", [1, 5, 42])
async def test_stream_left_early_leaves_nothing_running(real_server: RealServer, num_events: int) -> None:
    """In the prefill, in the thinking, around the answer."""
    async with real_server.client() as client:
        seen = 0
        async with client.stream("POST", "/v1/anytime", json=QUESTION | {"budget": 40}) as response:
            async for line in response.aiter_lines():
                seen += line.startswith("data: ")
                if seen == num_events:
                    break
        await engine_is_idle(client)


async def test_answer_now(real_server: RealServer) -> None:
    said: list[dict[str, Any]] = []
    accepted: httpx2.Response | None = None
    async with (
        real_server.client() as client,
        client.stream("POST", "/v1/anytime", json=QUESTION | {"thinking": {"seed": 5}}) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                said.append(json.loads(line[6:]))
                if len(said) == 4:
                    accepted = await client.post(f"/v1/anytime/{said[0]['id']}/answer")
    assert accepted is not None
    assert accepted.status_code == 202
    assert said[-1]["stop"]["cause"] == "client"
    assert said[-1]["stop"]["thinking_tokens"] == accepted.json()["at_tokens"]
    assert said[-1]["answer"].strip()


async def test_openai_sdk(real_server: RealServer) -> None:
    def ask() -> tuple[Any, list[Any]]:
        with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "7-3"}]
            extra = {"thinking_token_budget": 30}
            whole = client.chat.completions.create(model="tiny", messages=messages, seed=3, extra_body=extra)
            chunks = client.chat.completions.create(
                model="tiny", messages=messages, seed=3, extra_body=extra, stream=True
            )
            return whole, list(chunks)

    whole, chunks = await asyncio.to_thread(ask)
    stop = whole.anytime["stop"]
    assert stop["budget_tokens"] == 30
    assert whole.usage.completion_tokens_details.reasoning_tokens == stop["thinking_tokens"] <= 30
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert content == whole.choices[0].message.content
    assert content.strip()
    assert chunks[-1].anytime["stop"] == stop


async def test_bad_requests_do_no_harm(real_server: RealServer) -> None:
    async with real_server.client() as client:
        for fields in ({"budget": -1}, {"budget": 10**9}, {"messages": []}, {"seed": 1}):
            response = await client.post("/v1/anytime", json=QUESTION | fields)
            assert response.status_code == 422
        long = {"messages": [{"role": "user", "content": "7" * 600}]}
        assert (await client.post("/v1/anytime", json=long)).status_code == 422
        assert (await think(client, budget=3, thinking={"seed": -(2**63)}))["answer"].strip()
        assert (await think(client, budget=3, thinking={"seed": 2**63 - 1}))["answer"].strip()
        assert (await client.get("/ready")).status_code == 200


async def test_who_only_wants_an_answer_waits_for_nobodys_thinking(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--vllm.max-num-seqs", "1")
    async with server.client() as client:
        long = await open_streams(client, [{}] * 4)
        hurried = await asyncio.gather(think(client, budget=0), think(client, budget={"deadline_ms": 50}))
        assert sum(stream.done() for stream in long) <= 1
        assert [body["stop"]["thinking_tokens"] for body in hurried] == [0, 0]
        assert [body["stop"]["cause"] for body in hurried] == ["budget", "deadline"]
        for stream in long:
            stream.cancel()
        await asyncio.gather(*long, return_exceptions=True)
        await engine_is_idle(client)
    assert await asyncio.to_thread(server.stop) == 0


async def test_killed_it_leaves_neither_an_engine_nor_a_port_in_use(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint))
    engine = server.engine_processes()
    assert engine
    host, port = server.url.removeprefix("http://").split(":")
    async with server.client() as client:
        (streamed,) = await open_streams(client, [{}])
        server.process.kill()
        with pytest.raises(httpx2.RequestError):
            await streamed
    await asyncio.to_thread(server.process.communicate, timeout=30)
    with socket.create_server((host, int(port))):
        pass
    _, alive = psutil.wait_procs(engine, timeout=10)
    assert alive == []


async def test_engine_death_is_reported_once_to_everyone(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint))
    async with server.client() as client:
        streams = await open_streams(client, [{}] * 4)
        engine = [process for process in server.engine_processes() if process.is_running()]
        assert engine
        for process in engine:
            process.kill()
        for said in await asyncio.gather(*streams):
            assert [event["type"] for event in said].count("error") == 1
            assert said[-1]["error"]["code"] == "engine_dead"
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["reason"]) == (503, "the engine is down")
        assert (await client.get("/health")).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    said, _ = await asyncio.to_thread(server.process.communicate, timeout=30)
    assert server.process.returncode == 0
    assert said.count("the engine process died") == 1
    assert "Traceback" not in said


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
    assert errors
    assert all(error["message"] == "the server stops" for error in errors)
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
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/anytime HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 1000\r\n\r\n{")
    await writer.drain()
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
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
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


async def test_weights_that_cannot_be_loaded_end_the_server(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    process = await asyncio.create_subprocess_exec(
        str(ANYTIME),
        "serve",
        "--model",
        str(folder),
        "--port",
        "0",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, complaint = await asyncio.wait_for(process.communicate(), timeout=120)
    assert process.returncode == 1
    assert b"anytime serve: vLLM cannot load" in complaint
    assert b"model.safetensors: " in complaint
    assert b"Traceback" not in complaint
