"""Start, graceful shutdown and failed starts of a server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil
import pytest

from ..checkpoints import with_config
from ..prefork import preforked
from ..servers import RealServer
from .native_api import REQUEST, begin_request, open_streams, stream


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.mark.nightly
async def test_sigterm_ends_server_and_engine(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), forked=False)
    started = server.processes()
    server.process.terminate()
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=30)
    assert server.process.returncode == 0
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []


async def test_sigterm_lets_streams_end_or_ends_them_with_an_error(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--drain-s", "1")
    async with server.client() as client:
        # Too many to end within the second.
        long = [{"thinking": {"seed": seed}} for seed in range(64)]
        streams = await open_streams(client, [{"budget": 20}, *long])
        server.process.send_signal(signal.SIGTERM)
        results = await asyncio.gather(*streams)
    for events in results:
        terminal = [event["type"] for event in events if event["type"] in ("done", "error")]
        assert terminal == [events[-1]["type"]]
    errors = [events[-1]["error"] for events in results if events[-1]["type"] == "error"]
    assert all(error["message"] == "the server stops" for error in errors)
    causes = [events[-1]["stop"]["cause"] for events in results if events[-1]["type"] == "done"]
    assert errors or "deadline" in causes  # truncated near the end of the drain, or too slow for that
    assert await asyncio.to_thread(server.stop) == 0


async def test_ctrl_c_lets_streams_end(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    """A terminal sends SIGINT to the whole process group; the engine must ignore it."""
    server = start_server("--model", str(tiny_checkpoint), own_group=True)
    started = server.processes()
    async with server.client() as client:
        streams = await open_streams(client, [{"budget": 200, "thinking": {"seed": n}} for n in range(16)])
        os.killpg(server.process.pid, signal.SIGINT)
        results = await asyncio.gather(*streams)
    assert [events[-1]["type"] for events in results] == ["done"] * 16
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=30)
    assert server.process.returncode == 130
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []


async def test_sigterm_does_not_wait_for_an_incomplete_request(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--engine", "scripted", "--drain-s", "300")
    host, port = server.address
    reader, writer = await begin_request(host, port)
    await asyncio.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=60)
    assert server.process.returncode == 0
    assert "Stopping." in output
    assert "Traceback" not in output
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_sigterm_ends_a_server_whose_output_is_closed(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path
) -> None:
    server = start_server("--model", str(tiny_checkpoint), "--engine", "scripted")
    assert server.process.stdout is not None
    server.process.stdout.close()
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_streams_at_once_with_an_error(
    start_server: Callable[..., RealServer], tiny_checkpoint: Path, number: signal.Signals
) -> None:
    endless = ("--scripted.never-end", "true", "--scripted.seconds-per-token", "0.01")
    server = start_server("--model", str(tiny_checkpoint), "--engine", "scripted", *endless)
    async with server.client() as client, asyncio.timeout(20):
        streamed = asyncio.create_task(stream(client))
        whole = asyncio.create_task(
            client.post("/v1/chat/completions", json={"model": "tiny", "messages": REQUEST["messages"]}),
        )
        while "anytime_engine_requests 2.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.02)
        server.process.send_signal(number)
        async with server.client() as late_client:
            while (ready := await late_client.get("/ready")).status_code == 200:
                await asyncio.sleep(0.02)
            assert ready.json()["reason"] == "the server is draining"
            rejected = await late_client.post("/v1/anytime", json=REQUEST)
            assert (rejected.status_code, rejected.json()["error"]["code"]) == (503, "unavailable")
        assert not streamed.done()
        server.process.send_signal(number)
        assert (await streamed)[-1]["error"]["code"] == "unavailable"
        refused = await whole
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    output, _ = await asyncio.to_thread(server.process.communicate, timeout=20)
    assert "requests under way (2)" in output
    assert "Traceback" not in output


async def test_sigterm_ends_a_server_that_loads(tiny_checkpoint: Path) -> None:
    port = free_port()
    process = preforked().start(["--model", str(tiny_checkpoint), "--port", str(port)])
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
    output, _ = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


async def test_a_model_that_cannot_be_loaded_ends_the_server(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The server does not wait for a request that is incomplete."""
    folder = with_config(tiny_checkpoint, tmp_path / "broken", architectures=["NoSuchModel"])
    port = free_port()
    process = preforked().start(["--model", str(folder), "--port", str(port), "--drain-s", "300"])
    assert (await asyncio.to_thread(process.stdout.readline)).startswith("Loading ")  # the port is open
    _, writer = await begin_request("127.0.0.1", port)
    output, _ = await asyncio.to_thread(process.communicate, timeout=120)
    writer.close()
    assert process.returncode == 1
    assert "anytime serve: vLLM cannot load" in output
    assert "NoSuchModel" in output
    assert "Traceback" not in output
