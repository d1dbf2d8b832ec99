"""Tokenizing and detokenizing over HTTP, in the shapes of vLLM and llama.cpp."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Served
from .keys import account, key, keyring

USER = {"role": "user", "content": "7-3"}


@pytest.fixture(name="server")
async def fixture_server(served: Any) -> Served:
    return await served(window_tokens=64)


async def post(server: Served, path: str, **body: Any) -> dict[str, Any]:
    response = await server.http.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def test_text_to_tokens_and_back(server: Served) -> None:
    tokenizer = server.scheduler.model.tokenizer
    text = "<|user|>7-3 \N{SNOWMAN}<|end|>"
    tokenized = await post(server, "/tokenize", prompt=text)
    ids = tokenizer.encode(text)
    assert tokenized == {"count": len(ids), "max_model_len": 64, "tokens": ids}
    assert await post(server, "/detokenize", tokens=ids) == {"prompt": text, "content": text}
    assert (await post(server, "/detokenize", tokens=[]))["prompt"] == ""


async def test_llama_cpps_fields(server: Served) -> None:
    tokenized = await post(server, "/tokenize", content="7<|end|>", add_special=False, with_pieces=True)
    assert [token["piece"] for token in tokenized["tokens"]] == ["7", "<|end|>"]
    assert [token["id"] for token in tokenized["tokens"]] == server.scheduler.model.tokenizer.encode(
        "7<|end|>"
    )


async def test_vocabulary_entries_on_request(server: Served) -> None:
    tokenized = await post(server, "/tokenize", prompt="7 3", return_token_strs=True)
    assert tokenized["token_strs"] == ["7", "\u0120", "3"]


async def test_conversation_is_rendered_as_for_a_completion(server: Served) -> None:
    tokenized = await post(server, "/tokenize", model="tiny", messages=[USER], return_token_strs=None)
    completion = await post(server, "/v1/chat/completions", model="tiny", messages=[USER])
    assert tokenized["count"] == completion["usage"]["prompt_tokens"]
    begun = [USER, {"role": "assistant", "content": "It is"}]
    fields = {"continue_final_message": True, "add_generation_prompt": False}
    tokenized = await post(server, "/tokenize", messages=begun, **fields)
    text = (await post(server, "/detokenize", tokens=tokenized["tokens"]))["prompt"]
    assert text == "<|user|>7-3<|end|><|assistant|><think></think>It is"


async def test_text_over_the_window_is_counted(server: Served) -> None:
    assert (await post(server, "/tokenize", prompt="7" * 10_000))["count"] == 10_000


async def test_special_tokens_are_added_as_asked(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    tokenizer = server.scheduler.model.tokenizer
    encode = tokenizer.encode

    def record(text: str, *, adds_special: bool = False) -> list[int]:
        asked.append(adds_special)
        return encode(text)

    monkeypatch.setattr(tokenizer, "encode", record)
    for fields in ({"prompt": "7"}, {"prompt": "7", "add_special_tokens": False}, {"content": "7"}):
        await post(server, "/tokenize", **fields)
    await post(server, "/tokenize", content="7", add_special=True)
    await post(server, "/v1/completions", prompt="7")
    await post(server, "/v1/completions", prompt="7", add_special_tokens=False)
    assert asked == [True, False, False, True, True, False]


BAD: list[tuple[str, str, Any]] = [
    ("/tokenize", "prompt", {}),
    ("/tokenize", "prompt", {"prompt": "7", "content": "7"}),
    ("/tokenize", "prompt", {"prompt": 7}),
    ("/tokenize", "add_generation_prompt", {"messages": [USER], "add_generation_prompt": False}),
    ("/tokenize", "messages.0.role", {"messages": [{"role": "wizard"}]}),
    ("/detokenize", "tokens", {}),
    ("/detokenize", "tokens.1", {"tokens": [1, -1]}),
    ("/detokenize", "tokens.0", {"tokens": ["a"]}),
    ("/detokenize", "tokens", {"tokens": [10**6]}),
]


async def test_bad_requests_name_the_field(server: Served) -> None:
    for path, param, body in BAD:
        response = await server.http.post(path, json=body)
        assert response.status_code == 400, (body, response.text)
        assert response.json()["error"]["param"] == param, body


async def test_unknown_model_is_404(server: Served) -> None:
    for path, body in (("/tokenize", {"prompt": "7"}), ("/detokenize", {"tokens": [1]})):
        response = await server.http.post(path, json=body | {"model": "gpt-0"})
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


async def test_calls_count_as_requests_of_the_key(served: Any) -> None:
    keys = keyring(key("alice", requests_per_minute=2))
    server = await served(app={"keyring": keys})
    assert (await server.http.post("/tokenize", json={"prompt": "7"})).status_code == 401
    headers = {"Authorization": "Bearer alice"}
    codes = [
        (await server.http.post(path, json=body, headers=headers)).status_code
        for path, body in (("/tokenize", {"prompt": "7"}), ("/detokenize", {"tokens": [1]})) * 2
    ]
    assert codes == [200, 200, 429, 429]
    assert account(keys, "alice").num_under_way == 0


async def test_messages_are_limited(served: Any) -> None:
    server = await served(app={"max_messages": 2})
    response = await server.http.post("/tokenize", json={"messages": [USER] * 3})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")
