"""Prompts over the model's window: errors by which clients know that they must shorten the conversation."""

from __future__ import annotations

import re
from typing import Any

import anthropic
import openai
import pytest

WINDOW = 1024
OPENAI = re.compile(
    r"This model's maximum context length is (\d+) tokens\. However, you requested (\d+) tokens "
    r"\((\d+) in the messages, (\d+) in the completion\)\. "
    r"Please reduce the length of the messages or completion\."
)
ANTHROPIC = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum")
LONG = [WINDOW - 20, WINDOW, 100 * WINDOW]
"""Characters, which are tokens of this model: with little room for an answer, with none, far too many."""


def question(num_tokens: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "7" * num_tokens}]


REQUESTS: dict[str, Any] = {
    "/v1/chat/completions": lambda num: {"messages": question(num)},
    "/v1/responses": lambda num: {"input": question(num)},
    "/v1/messages": lambda num: {"messages": question(num), "max_tokens": 64},
    "/v1/messages/count_tokens": lambda num: {"messages": question(num)},
    "/v1/anytime": lambda num: {"messages": question(num)},
}


@pytest.mark.parametrize("num_tokens", LONG)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_openais_clients_recognise_it(served: Any, path: str, num_tokens: int, stream: bool) -> None:
    server = await served(window_tokens=WINDOW)
    body = {"model": "tiny", "stream": stream} | REQUESTS[path](num_tokens)
    response = await server.http.post(path, json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "context_length_exceeded")
    assert error["param"] == ("input" if path == "/v1/responses" else "messages")
    numbers = OPENAI.fullmatch(error["message"])
    assert numbers is not None, error["message"]
    window, requested, prompt, completion = map(int, numbers.groups())
    assert window == WINDOW < requested == prompt + completion
    assert 0.9 * num_tokens <= prompt <= 1.1 * num_tokens + 20


@pytest.mark.parametrize("num_tokens", LONG)
async def test_anthropics_clients_recognise_it(served: Any, num_tokens: int) -> None:
    server = await served(window_tokens=WINDOW)
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.messages.create(model="tiny", max_tokens=64, messages=question(num_tokens))  # pyright: ignore[reportArgumentType]
    error = refused.value.body["error"]  # pyright: ignore
    assert error["type"] == "invalid_request_error"
    numbers = ANTHROPIC.fullmatch(error["message"])
    assert numbers is not None, error["message"]
    prompt, most = map(int, numbers.groups())
    assert most < prompt
    assert most < WINDOW
    assert 0.9 * num_tokens <= prompt <= 1.1 * num_tokens + 20


async def test_counting_tokens_of_far_too_long_a_prompt_is_refused_alike(served: Any) -> None:
    server = await served(window_tokens=WINDOW)
    body = {"model": "tiny"} | REQUESTS["/v1/messages/count_tokens"](LONG[-1])
    response = await server.http.post("/v1/messages/count_tokens", json=body)
    assert ANTHROPIC.fullmatch(response.json()["error"]["message"])


@pytest.mark.parametrize("num_tokens", LONG)
async def test_native_error_has_the_code(served: Any, num_tokens: int) -> None:
    server = await served(window_tokens=WINDOW)
    response = await server.http.post("/v1/anytime", json=REQUESTS["/v1/anytime"](num_tokens))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["field"]) == (
        422,
        "context_length_exceeded",
        "messages",
    )
    assert f"window of {WINDOW}" in error["message"]


async def test_client_that_shortens_the_conversation_succeeds(served: Any) -> None:
    server = await served(window_tokens=WINDOW, thinking_tokens=5)
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        create: Any = client.chat.completions.create
        with pytest.raises(openai.BadRequestError) as refused:
            await create(model="tiny", messages=question(WINDOW))
        _, requested, *_ = map(int, OPENAI.findall(refused.value.message)[0])
        completion = await create(model="tiny", messages=question(WINDOW - (requested - WINDOW)))
    assert completion.choices[0].message.content == "42"
