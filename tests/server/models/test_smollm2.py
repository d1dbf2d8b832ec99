"""The real pretrained model on vLLM: its facts, its tokenizer, and the server's promises on it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import regex
from anytime_server.api.app import create_app
from anytime_server.engine import Engine, EngineRequest, Sampling
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.text.model import Model
from tokenizers.pre_tokenizers import ByteLevel

STORY = {"messages": [{"role": "user", "content": "Write a long story about a dragon."}]}
CAPITAL = {"messages": [{"role": "user", "content": "What is the capital of Italy?"}]}
GREEDY = {"thinking": {"temperature": 0}, "answer": {"temperature": 0, "max_tokens": 8}}
UNICODE = "naïve 日本語 🎉👩‍👧 مرحبا"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Gets the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def model(smollm2_checkpoint: Path) -> Model:
    return Model.load(smollm2_checkpoint)


@pytest.fixture(scope="module")
async def http(smollm2_engine: Engine, model: Model) -> AsyncGenerator[httpx2.AsyncClient, None]:
    """A client of a server on the real model."""
    scheduler = Scheduler(model, smollm2_engine, measure_speed=False)
    scheduler.state = "ready"  # the engine runs
    transport = httpx2.ASGITransport(app=create_app(scheduler))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=120) as client:
        yield client


async def think(http: httpx2.AsyncClient, question: dict[str, Any] = STORY, **fields: Any) -> dict[str, Any]:
    response = await http.post("/v1/anytime", json=question | GREEDY | {"stream": False} | fields)
    assert response.status_code == 200, response.text
    return response.json()


def greedy(model: Model, text: str, max_tokens: int) -> EngineRequest:
    sampling = Sampling(max_tokens=max_tokens, temperature=0.0, stop_ids=frozenset())
    return EngineRequest(id=uuid4().hex, prompt_ids=model.tokenizer.encode(text), sampling=sampling)


def test_manifest_and_template(model: Model) -> None:
    assert model.name == "smollm2"
    text = model.tokenizer.chat.render([{"role": "user", "content": "Hi"}])
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>")
    names = [model.tokenizer.decode([i], keeps_special=True) for i in sorted(model.reasoning.eos_ids)]
    assert names == ["<|endoftext|>", "<|im_end|>"]


def test_earlier_thinking_is_left_out_and_tools_are_shown(model: Model) -> None:
    call = {"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}
    text = model.tokenizer.chat.render(
        [
            {"role": "user", "content": "Weather in Rome?"},
            {"role": "assistant", "content": "<think>Hm.</think>\n", "tool_calls": [call]},
            {"role": "tool", "content": "sunny"},
        ],
        [WEATHER],
    )
    assert "Hm." not in text
    assert '"description": "Gets the weather in a city."' in text
    assert (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>' in text
    )
    assert "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>" in text


def test_tokenizer_agrees_with_a_plain_implementation(smollm2_checkpoint: Path, model: Model) -> None:
    """On characters of many scripts; every text decodes to itself, also when it is streamed."""
    stored = json.loads((smollm2_checkpoint / "tokenizer.json").read_text())["model"]
    ranks = {tuple(merge): rank for rank, merge in enumerate(stored["merges"])}
    pieces = regex.compile(r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

    def encode(text: str) -> list[int]:
        ids: list[int] = []
        for number in regex.split(r"(\p{N})", text):
            for piece in pieces.findall(number):
                [(word, _)] = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(piece)
                parts = list(word)
                while len(parts) > 1:
                    pairs = list(itertools.pairwise(parts))
                    best = min(range(len(pairs)), key=lambda at: ranks.get(pairs[at], len(ranks)))
                    if pairs[best] not in ranks:
                        break
                    parts[best : best + 2] = ["".join(pairs[best])]
                ids += [stored["vocab"][part] for part in parts]
        return ids

    rng = random.Random(0)
    blocks = ((32, 127), (160, 0x250), (0x370, 0x600), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0x1F300, 0x1F700))
    texts = [UNICODE, "I'm  here\n\n  it's 12345 + ½ = x²\t\r\n", "\u00a0wide\u3000 ٣٤"]
    texts += ["".join(chr(rng.randrange(*rng.choice(blocks))) for _ in range(30)) for _ in range(100)]
    for text in texts:
        ids = model.tokenizer.encode(text)
        assert ids == encode(text)
        detokenizer = model.tokenizer.detokenizer()
        streamed = [detokenizer.push([token_id]) for token_id in ids]
        assert "\ufffd" not in "".join(streamed)
        assert "".join(streamed) + detokenizer.flush() == text


async def test_it_knows_facts_and_lengths_are_exact(smollm2_engine: Engine, model: Model) -> None:
    facts = {"The capital of France is": " Paris", "The largest planet in the solar system is": " Jupiter"}
    lengths = [1, 2, 31, 32, 33]
    requests = [greedy(model, text, 1) for text in facts]
    requests += [greedy(model, "Once upon a time, there was a", length) for length in lengths]
    generations = await smollm2_engine.generate_all(requests)
    assert [model.tokenizer.decode(one.token_ids) for one in generations[:2]] == [*facts.values()]
    assert [len(one.token_ids) for one in generations[2:]] == lengths
    longest = generations[-1].token_ids
    assert all(one.token_ids == longest[: len(one.token_ids)] for one in generations[2:])
    assert all(one.finish_reason == "length" for one in generations)


async def test_budgets_are_exact(http: httpx2.AsyncClient) -> None:
    budgets = [0, 1, 20]
    bodies = await asyncio.gather(*(think(http, budget=budget) for budget in budgets))
    for budget, body in zip(budgets, bodies, strict=True):
        assert body["stop"]["thinking_tokens"] == budget
        assert body["stop"]["cause"] == "budget"
        assert body["answer"].strip()
        assert "think>" not in body["thinking"] + body["answer"]
    assert bodies[2]["thinking"].startswith(bodies[1]["thinking"])


async def test_thinking_ends_by_itself_before_a_short_answer(http: httpx2.AsyncClient) -> None:
    body = await think(http, CAPITAL, budget=60)
    assert body["stop"]["cause"] == "natural"
    assert "Rome" in body["thinking"]
    assert "Rome" in body["answer"]


@pytest.mark.nightly
async def test_unicode_streams_whole(http: httpx2.AsyncClient) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "text", "schema": {"enum": [UNICODE]}}}
    answer = {"temperature": 0, "max_tokens": 80, "response_format": schema}
    response = await http.post("/v1/anytime", json=STORY | {"budget": 1, "stream": True, "answer": answer})
    lines = [line for line in response.text.splitlines() if line.startswith("data: {")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    deltas = [event["text"] for event in events if event["type"] == "answer.delta"]
    assert len(deltas) > 5
    assert json.loads("".join(deltas)) == UNICODE


async def test_an_answer_follows_a_json_schema(http: httpx2.AsyncClient) -> None:
    cities = {"enum": ["Paris", "Rome", "Madrid"]}
    city = {"type": "object", "properties": {"city": cities}, "required": ["city"]}
    schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": city}}
    answer = {"temperature": 0, "max_tokens": 30, "response_format": schema}
    body = await think(http, CAPITAL, budget=8, answer=answer)
    assert json.loads(body["answer"]) == {"city": "Rome"}


async def test_thinking_continues_where_it_was_truncated(http: httpx2.AsyncClient) -> None:
    whole, first = await asyncio.gather(think(http, budget=12), think(http, budget=5))
    second = await think(http, budget=7, continuation=first["continuation"])
    assert second["stop"]["thinking_tokens"] == 7
    assert first["thinking"] + second["thinking"] == whole["thinking"]
    assert second["answer"] == whole["answer"]


async def test_early_answers(http: httpx2.AsyncClient) -> None:
    body = await think(http, CAPITAL, budget=8, budgets=[2, 4])
    assert [answer["at_tokens"] for answer in body["answers"]][:2] == [2, 4]
    assert [answer["provisional"] for answer in body["answers"]] == [True, True, False]
    assert all(answer["text"].strip() for answer in body["answers"])


async def test_a_request_with_tools_is_answered(http: httpx2.AsyncClient) -> None:
    """It sees the tools, and is too small to call them."""
    body = {"model": "smollm2", "temperature": 0, "thinking_budget": 4, "max_tokens": 16, **CAPITAL}
    plain, with_tools = await asyncio.gather(
        http.post("/v1/chat/completions", json=body),
        http.post("/v1/chat/completions", json=body | {"tools": [WEATHER]}),
    )
    assert [plain.status_code, with_tools.status_code] == [200, 200], with_tools.text
    [choice] = with_tools.json()["choices"]
    assert choice["message"]["content"].strip()
    assert choice["finish_reason"] in ("stop", "length")
    prompt_tokens = [response.json()["usage"]["prompt_tokens"] for response in (plain, with_tools)]
    assert prompt_tokens[1] > prompt_tokens[0] + 50
