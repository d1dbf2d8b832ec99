"""Anthropic's official SDK against servers in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import anthropic
import pytest


@pytest.fixture
async def sdk(served: Any) -> AsyncGenerator[Callable[..., Any], None]:
    """Starts servers and returns SDK clients for them."""
    clients: list[anthropic.AsyncAnthropic] = []

    async def start(**script: Any) -> anthropic.AsyncAnthropic:
        server = await served(**script)
        client = anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0)
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()
