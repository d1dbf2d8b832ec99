"""A server with vLLM that the attacks share, and must leave as it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import httpx2
import pytest

from ..checkpoints import with_config
from ..servers import SCHEMA_COMPILER, RealServer, command_of, start
from .streams import SLOTS, connections, server_is_idle

WINDOW_TOKENS = 8192
"""Far more than a test samples before it does what it is about."""


@pytest.fixture(scope="session")
def attacked_server(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[RealServer, None, None]:
    """Few slots, and a long window; replaces an engine that is silent for four seconds."""
    folder = tmp_path_factory.mktemp("attacked") / "tiny"
    model = with_config(tiny_checkpoint, folder, max_position_embeddings=WINDOW_TOKENS)
    options = ("--vllm.max-num-seqs", str(SLOTS), "--engine-stall-s", "4")
    server = start(["--model", str(model), *options])
    while not any(SCHEMA_COMPILER in command for command in commands(server)):
        time.sleep(0.02)  # it is started when the server is ready
    yield server
    server.stop()


def commands(server: RealServer) -> list[list[str]]:
    """The command lines of the processes that the server has started: a new engine has that of the last."""
    return sorted(command_of(process) for process in server.processes())


@pytest.fixture
async def client(attacked_server: RealServer) -> AsyncGenerator[httpx2.AsyncClient, None]:
    """Checks after the test that no request or connection is left, and the same kinds of processes."""
    before = commands(attacked_server)
    async with attacked_server.client() as client:
        yield client
        await server_is_idle(client)
    async with asyncio.timeout(10):
        while connections(attacked_server):
            await asyncio.sleep(0.02)
        while commands(attacked_server) != before:
            await asyncio.sleep(0.02)
