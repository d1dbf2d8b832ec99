"""The list of models through the official SDKs."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

NAMES = ["tiny", "french"]


async def test_openais_sdk_lists_models(served: Any) -> None:
    server = await served(options={"adapters": ["french"]})
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == NAMES
        assert (await client.models.retrieve("french")).parent == "tiny"  # pyright: ignore
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.models.retrieve("gpt-0")
    assert (unknown.value.code, unknown.value.type) == ("model_not_found", "invalid_request_error")


async def test_anthropics_sdk_lists_models(served: Any) -> None:
    server = await served(options={"adapters": ["french"]}, window_tokens=300)
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        page = await client.models.list()
        assert [model.id async for model in page] == NAMES
        assert (page.has_more, page.first_id, page.last_id) == (False, *NAMES)
        model = await client.models.retrieve("french")
        assert (model.type, model.id, model.display_name) == ("model", "french", "french")
        assert (model.lifecycle, model.max_input_tokens) == ("active", 300)
        assert model.created_at.tzinfo is not None
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.models.retrieve("claude-0")
    assert unknown.value.type == "not_found_error"
