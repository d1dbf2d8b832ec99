"""A server with vLLM that the attacks share, and must leave as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import httpx2
import pytest

from ..servers import RealServer, start
from .streams import SLOTS, connections, server_is_idle


@pytest.fixture(scope="session")
def attacked_server(tiny_checkpoint: Path) -> Generator[RealServer, None, None]:
    """Few slots; replaces an engine that is silent for four seconds."""
    options = ("--vllm.max-num-seqs", str(SLOTS), "--engine-stall-s", "4")
    server = start(["--model", str(tiny_checkpoint), *options])
    yield server
    server.stop()


@pytest.fixture
async def client(attacked_server: RealServer) -> AsyncGenerator[httpx2.AsyncClient, None]:
    """Checks after the test that no request, connection or process is left."""
    async with attacked_server.client() as client:
        yield client
        await server_is_idle(client)
    async with asyncio.timeout(10):
        while connections(attacked_server):
            await asyncio.sleep(0.02)
    assert [process.name() for process in attacked_server.engine_processes()] == ["VLLM::EngineCore"]
