"""API keys and their limits through OpenAI's SDK."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from ..conftest import QUESTION, Served
from ..keys import account, key, keyring

REQUEST: Any = {"model": "tiny", **QUESTION}


def sdk(server: Served, secret: str, *, max_retries: int = 0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=secret, max_retries=max_retries)


async def test_unknown_and_disabled_keys_are_refused(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice"), key("dora", disabled=True))})
    async with sdk(server, "alice") as client:
        assert (await client.chat.completions.create(**REQUEST)).choices[0].message.content == "42"
    async with sdk(server, "mallory") as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await client.chat.completions.create(**REQUEST)
    assert (unknown.value.code, unknown.value.type) == ("invalid_api_key", "invalid_request_error")
    assert unknown.value.request_id
    async with sdk(server, "dora") as client:
        with pytest.raises(openai.PermissionDeniedError) as disabled:
            await client.responses.create(model="tiny", input="7-3")
    assert disabled.value.code == "permission_denied"


async def test_limits_are_in_headers_and_exceeding_them_is_refused(served: Any) -> None:
    keys = keyring(key("alice", requests_per_minute=2, thinking_tokens_per_minute=90))
    server = await served(app={"keyring": keys}, never_end=True)
    budget: Any = {"extra_body": {"thinking_token_budget": 60}}
    async with sdk(server, "alice") as client:
        raw = await client.chat.completions.with_raw_response.create(**REQUEST, **budget)
        headers = {
            name.removeprefix("x-ratelimit-"): value
            for name, value in raw.headers.items()
            if name.startswith("x-ratelimit-")
        }
        assert (headers.pop("limit-requests"), headers.pop("remaining-requests")) == ("2", "1")
        assert headers.pop("limit-tokens") == "90"
        assert 30 <= int(headers.pop("remaining-tokens")) < 90
        assert all(value.endswith("s") and value[0].isdigit() for value in headers.values())
        assert headers.keys() == {"reset-requests", "reset-tokens"}
        with pytest.raises(openai.RateLimitError) as tokens:
            await client.chat.completions.create(**REQUEST, extra_body={"thinking_token_budget": 90})
        assert (tokens.value.type, tokens.value.code) == ("tokens", "rate_limit_exceeded")
        with pytest.raises(openai.BadRequestError, match="the most is 90"):
            await client.chat.completions.create(**REQUEST, extra_body={"thinking_token_budget": 91})
        # The refused request was the second of this minute.
        with pytest.raises(openai.RateLimitError) as requests:
            await client.chat.completions.create(**REQUEST, **budget, stream=True)
        assert (requests.value.type, requests.value.code) == ("requests", "rate_limit_exceeded")
        assert 1 <= int(requests.value.response.headers["retry-after"]) <= 30


async def test_more_choices_than_the_concurrency_limit_are_refused(served: Any) -> None:
    server = await served(app={"keyring": keyring(key("alice", concurrency=4, requests_per_minute=9))})
    async with sdk(server, "alice") as client:
        with pytest.raises(openai.BadRequestError, match="the most is 4") as refused:
            await client.chat.completions.create(**REQUEST, n=5)
        assert refused.value.param == "n"
        assert len((await client.chat.completions.create(**REQUEST, n=4)).choices) == 4


async def test_sdk_waits_for_retry_after_and_succeeds(served: Any) -> None:
    keys = keyring(key("alice", requests_per_minute=60))
    server = await served(app={"keyring": keys})
    for _ in range(60):
        account(keys, "alice").count_request()
    async with sdk(server, "alice", max_retries=1) as client:
        raw = await client.chat.completions.with_raw_response.create(**REQUEST)
    assert raw.retries_taken == 1
