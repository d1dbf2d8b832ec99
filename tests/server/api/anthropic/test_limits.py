"""API keys and their limits through Anthropic's SDK."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import pytest

from ..conftest import QUESTION, Served
from ..keys import account, key, keyring

REQUEST: Any = {"model": "tiny", "max_tokens": 30, **QUESTION}
COUNTED: Any = {"model": "tiny", **QUESTION}
TOOLS: Any = [{"name": "add", "input_schema": {"type": "object"}}]


def sdk(server: Served, secret: str, *, max_retries: int = 0) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=server.url, api_key=secret, max_retries=max_retries)


async def test_unknown_and_disabled_keys_are_refused(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice"), key("dora", disabled=True))})
    async with sdk(server, "alice") as client:
        assert (await client.messages.create(**REQUEST)).type == "message"
    async with sdk(server, "mallory") as client:
        with pytest.raises(anthropic.AuthenticationError, match="authentication_error") as unknown:
            await client.messages.create(**REQUEST)
    assert unknown.value.request_id
    async with sdk(server, "dora") as client:
        with pytest.raises(anthropic.PermissionDeniedError, match="permission_error"):
            await client.messages.count_tokens(model="tiny", messages=QUESTION["messages"])


async def test_limits_are_in_headers_and_exceeding_them_is_refused(served: Any) -> None:
    keys = keyring(key("alice", requests_per_minute=1, thinking_tokens_per_minute=900))
    server = await served(app={"keyring": keys}, never_end=True)
    async with sdk(server, "alice") as client:
        raw = await client.messages.with_raw_response.create(**REQUEST)
        headers = {
            name.removeprefix("anthropic-ratelimit-"): value
            for name, value in raw.headers.items()
            if name.startswith("anthropic-ratelimit-")
        }
        assert (headers["requests-limit"], headers["requests-remaining"], headers["tokens-limit"]) == (
            "1",
            "0",
            "900",
        )
        reset = datetime.strptime(headers["requests-reset"], "%Y-%m-%dT%H:%M:%S%z")
        assert timedelta() < reset - datetime.now(UTC) <= timedelta(seconds=61)
        assert headers.keys() >= {"tokens-remaining", "tokens-reset"}
        with pytest.raises(anthropic.RateLimitError, match="rate_limit_error") as refused:
            await client.messages.create(**REQUEST)
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60


async def test_counting_tokens_counts_as_a_request(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice", requests_per_minute=6, concurrency=1))})
    async with sdk(server, "alice") as client:
        for _ in range(2):
            await client.messages.count_tokens(model="tiny", messages=QUESTION["messages"])
            with pytest.raises(anthropic.NotFoundError):  # a refused request counts too
                await client.messages.count_tokens(model="other", messages=QUESTION["messages"])
            with pytest.raises(anthropic.BadRequestError, match="takes no tools"):
                await client.messages.count_tokens(**COUNTED, tools=TOOLS)
        with pytest.raises(anthropic.RateLimitError, match="6 requests per minute"):
            await client.messages.count_tokens(model="tiny", messages=QUESTION["messages"])


async def test_sdk_waits_for_retry_after_and_succeeds(served: Any) -> None:
    keys = keyring(key("alice", requests_per_minute=60))
    server = await served(app={"keyring": keys})
    for _ in range(60):
        account(keys, "alice").count_request()
    async with sdk(server, "alice", max_retries=1) as client:
        raw = await client.messages.with_raw_response.create(**REQUEST)
    assert raw.retries_taken == 1
