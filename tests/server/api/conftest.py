"""A server on a real socket, in this process, on a scripted engine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import uvicorn
from anytime_server.api.app import create_app
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.model import Model
from anytime_server.service import Service

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "7-3"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server."""

    url: str
    http: httpx2.AsyncClient
    service: Service

    async def stream(self, **fields: Any) -> list[dict[str, Any]]:
        """All events of a native request."""
        async with self.http.stream("POST", "/v1/anytime", json=QUESTION | fields) as response:
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = (await response.aread()).decode().split("\n")
        found = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        assert named == [event["type"] for event in found]
        return found

    async def think(self, **fields: Any) -> dict[str, Any]:
        """The body of a native request that is not streamed."""
        response = await self.http.post("/v1/anytime", json=QUESTION | fields | {"stream": False})
        assert response.status_code == 200, response.text
        return response.json()

    async def idle(self) -> None:
        """Return once the engine has nothing left to do; fail after a second."""
        async with asyncio.timeout(1):
            while self.service.engine.load().num_requests:
                await asyncio.sleep(0.01)


@pytest.fixture
async def served(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> AsyncGenerator[Callable[..., Any], None]:
    """Starts servers on engines that play the given scripts."""
    running: list[tuple[uvicorn.Server, asyncio.Task[None], httpx2.AsyncClient]] = []

    async def start(*, ready: bool = True, measure_speed: bool = False, **script: Any) -> Served:
        service = Service(tiny_model, scripted(**script), measure_speed=measure_speed)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(service), log_level="warning", lifespan="on", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        http = httpx2.AsyncClient(base_url=url, timeout=30)
        running.append((server, task, http))
        while not server.started or (ready and service.not_ready_because == "the model is loading"):
            await asyncio.sleep(0.005)
        return Served(url=url, http=http, service=service)

    yield start
    for server, task, http in running:
        await http.aclose()
        server.should_exit = True
        await task
