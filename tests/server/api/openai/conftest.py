"""OpenAI's official SDK against servers in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import openai
import pytest


@pytest.fixture
async def sdk(served: Any) -> AsyncGenerator[Callable[..., Any], None]:
    """Starts servers and returns SDK clients for them."""
    clients: list[openai.AsyncOpenAI] = []

    async def start(**script: Any) -> openai.AsyncOpenAI:
        server = await served(**script)
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()
