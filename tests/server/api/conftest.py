"""Servers on real sockets in this process, on scripted engines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from anytime_server.api.app import create_app
from anytime_server.engine import Engine
from anytime_server.engine.environment import prepare_environment
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.server.connection_limits import ConnectionLimits
from anytime_server.text.model import Model

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "7-3"}]}

TOOL_TEMPLATE = (
    "{% if tools %}{% for t in tools %}{{ t | tojson }}<tool_call>{% endfor %}{% endif %}"
    "{% for m in messages %}<|{{ 'assistant' if m.role == 'assistant' else 'user' }}|>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "{% if m.role == 'tool' %}({{ m.tool_call_id }}){% endif %}<|end|>{% endfor %}<|assistant|><think>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server, its scheduler and an HTTP client."""

    url: str
    http: httpx2.AsyncClient
    scheduler: Scheduler

    async def stream(self, **fields: Any) -> list[dict[str, Any]]:
        """All events of a native request."""
        async with self.http.stream("POST", "/v1/anytime", json=QUESTION | fields) as response:
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = (await response.aread()).decode().split("\n")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        assert named == [event["type"] for event in events]
        return events

    async def think(self, **fields: Any) -> dict[str, Any]:
        """The body of a native response that is not streamed."""
        response = await self.http.post("/v1/anytime", json=QUESTION | fields | {"stream": False})
        assert response.status_code == 200, response.text
        return response.json()

    async def idle(self) -> None:
        """Wait until the engine has no requests; fail after a second."""
        async with asyncio.timeout(1):
            while self.scheduler.engine.load().num_requests:
                await asyncio.sleep(0.01)


class QuickServer(uvicorn.Server):
    """Stops at once, where uvicorn pauses for 0.1 s several times."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._stopping = asyncio.Event()
        await self._stopping.wait()

    def stop(self) -> None:
        self._stopping.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(0.001)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


@pytest.fixture(autouse=True)
def quick_clients(no_certificates: None) -> None:
    """Of the servers, and of the SDKs."""


@pytest.fixture(scope="session")
def tool_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The tiny checkpoint with a chat template that takes tools and calls in the format of Qwen3."""
    from transformers import AutoTokenizer

    prepare_environment()  # before vLLM, which parses the calls, is imported
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("tools") / "tiny"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
    tokenizer.chat_template = TOOL_TEMPLATE
    tokenizer.save_pretrained(folder)
    return Model.load(folder)


@pytest.fixture
async def served(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> AsyncGenerator[Callable[..., Any], None]:
    """Starts servers on engines that play the given scripts."""
    running: list[tuple[QuickServer, asyncio.Task[None], httpx2.AsyncClient]] = []

    async def start(
        *,
        ready: bool = True,
        measure_speed: bool = False,
        model: Model | None = None,
        options: dict[str, Any] | None = None,
        app: dict[str, Any] | None = None,
        connections: dict[str, Any] | None = None,
        keep_alive_s: float = 5,
        engine: Engine | None = None,
        **script: Any,
    ) -> Served:
        engine = engine or scripted(**script, **({} if model is None else {"model": model}))
        scheduler = Scheduler(model or tiny_model, engine, measure_speed=measure_speed, **options or {})
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(scheduler, **app or {}),
            http=ConnectionLimits(**connections or {}).protocol,  # pyright: ignore[reportArgumentType]
            ws="none",
            proxy_headers=False,
            timeout_keep_alive=keep_alive_s,  # pyright: ignore[reportArgumentType]
            log_level="warning",
            lifespan="on",
            timeout_graceful_shutdown=1,
        )
        server = QuickServer(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        http = httpx2.AsyncClient(base_url=url, timeout=30)
        running.append((server, task, http))
        while not server.started or (ready and scheduler.not_ready_because == "the model is loading"):
            await asyncio.sleep(0.005)
        return Served(url=url, http=http, scheduler=scheduler)

    yield start
    for server, task, http in running:
        await http.aclose()
        server.stop()
        await task
